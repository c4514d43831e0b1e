"""``python -m ppl`` is ``ppl``."""

from .cli import main

if __name__ == "__main__":
    main()
