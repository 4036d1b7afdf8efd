"""What all floors share: definitions, exact sums, and the rules by which rows become answers."""
