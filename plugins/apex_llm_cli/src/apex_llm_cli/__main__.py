"""``python -m apex_llm_cli`` is ``apex-llm``."""

from __future__ import annotations

from apex_llm_cli.main import main

if __name__ == "__main__":
    main()
