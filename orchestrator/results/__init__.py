"""Keeps and reads what trials leave: one Parquet file a trial and table, and one file a table for
those who read.

`columns` says what tables and columns are, `schema` which there are. `rows` makes rows from a
trial's values, `parquet` turns them into a file and back, `table_files` names the files. `store`
decides which file is written where and when, `reading` which of them are true, and `versions` what
those of earlier versions mean today. `verify` checks files against each other, `recount` has
seqeval count stored predictions again, `lacking` compares what a trial was scored on with what is
asked, `export` writes tables to files for people.
"""
