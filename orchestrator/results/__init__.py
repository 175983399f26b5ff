"""Keeps and reads what trials leave: one Parquet file a trial and table, and one file a table for
those who read.

`schema` says what the tables hold, `rows` makes them from a trial's values, `parquet` turns one
into a file and back, `store` decides which file is written where and when, `verify` checks them,
`aggregate` sums them up over seeds.
"""
