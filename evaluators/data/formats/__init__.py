"""Formats of data sets, one a file: what each lists of a folder, a file or an object."""
