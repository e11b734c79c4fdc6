"""The SQL that we write ourselves, the clock of the database, and its errors."""
