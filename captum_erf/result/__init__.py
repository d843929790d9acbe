"""The mean map: sums by group and jackknife, its numbers, and the one table from which they are all printed."""
