"""What a start would meet, found out without starting."""
