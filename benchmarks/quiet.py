"""Repeats a race until the machine is quiet: until the rates of the roof, which only stores bytes, agree."""

import time

QUIET_SPREAD = 0.15
PAUSE_SECONDS = 20  # between two attempts


def spread(rows):
    """The distance of the highest and lowest rate of one storing thread, as a part of the median.

    Two threads tell nothing: a virtual machine gives them the rate of one or twice that, by their place.
    """
    roof = next(row for row in rows if row["name"] == "roof, 1 threads")
    return (roof["max"] - roof["min"]) / roof["median"]


def until_quiet(race, minutes, clock=time.monotonic, pause=time.sleep):
    """The rows of the first quiet race, or of the quietest that ended within so many minutes.

    race: returns the rows of one attempt; another attempt begins only if it may end in time
    """
    begin = clock()
    attempts = []
    while True:
        rows = race()
        attempts.append((spread(rows), rows))
        passed = clock() - begin
        told = f"attempt {len(attempts)}: the roof's spread is {attempts[-1][0]:.0%}"
        if attempts[-1][0] <= QUIET_SPREAD:
            print(f"{told}, at most {QUIET_SPREAD:.0%}: quiet", flush=True)
            return rows
        if passed + PAUSE_SECONDS + passed / len(attempts) > 60 * minutes:
            break
        print(f"{told}, more than {QUIET_SPREAD:.0%}: once more", flush=True)
        pause(PAUSE_SECONDS)
    least, rows = min(attempts, key=lambda attempt: attempt[0])
    print(f"{told}; {passed / 60:.0f} of {minutes:g} minutes are over: never quiet.")
    print(f"The attempt with the least spread, {least:.0%}, is kept. Run again when the machine is quieter.")
    return rows
