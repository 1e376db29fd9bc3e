"""What a real account says to what the reference marks as unknown."""
