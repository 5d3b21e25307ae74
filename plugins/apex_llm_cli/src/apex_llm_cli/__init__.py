"""The command line of apex-llm. Commands are entry points of the group ``apex_llm.commands``, imported when they run."""
