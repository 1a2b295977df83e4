"""The Delta tables: planned rows and vectors come in, known state and stored vectors go out.

`protocol.Tables` says what a batch may ask, `spec` what the tables are. `native.NativeTables` and
`spark_tables.SparkTables` keep the same promises; import the one you need (one brings delta-rs, the other Spark).
"""
