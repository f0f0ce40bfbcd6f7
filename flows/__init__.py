"""The operational face: command line, project files and Prefect flows over the five verbs.

Nothing here computes: modules parse, call `training`, `export` and `pipeline`, and report.
Prefect, torch and Arrow are imported by the commands that need them, never by this package.
"""
