"""The press: from notebooks and results to pages, tables and figures."""
