"""What a run is and says, finished or not: labels, log, results, comparisons, suspicious labels. No torch."""
