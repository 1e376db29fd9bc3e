"""What came of the meetings: the summary of some days, in words and as JSON."""
