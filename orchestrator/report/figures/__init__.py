"""The figures, a file a topic; `orchestrator.report.sections` puts them in order."""
