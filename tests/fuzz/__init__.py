"""`make fuzz`: hostile input for the C++ core (libFuzzer) and for every parser in Python (atheris)."""
