"""What people see of deliveries: values for pages and commands, read in few queries.

Nothing here changes a row, and no query grows with the tables: what is counted is
counted up to a limit, and each page has a few statements, each with a time limit.
"""
