"""One-off tools of the repository: recording row-level histories as Debezium records, and building the sample data."""
