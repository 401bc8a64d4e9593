"""Which labels are wrong: sources of evidence, one calibrated score, and how many there are."""
