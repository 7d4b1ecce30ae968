"""What results files answer when they are asked again: rows that count, held against a bound."""
