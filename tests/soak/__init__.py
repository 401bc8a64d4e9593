"""`make soak`: random operations, cuts of files and kills for as long as asked, against slow models."""
