"""Where the program ``bot`` and ``python -m bot`` begin; Ctrl-C while the modules load is an interruption too."""

from __future__ import annotations

import _thread
import sys
import threading

__all__ = ["main"]

RETRY_SECONDS = 0.02


def main() -> int:
    """Run the command of ``sys.argv`` and return its exit code."""
    sys.unraisablehook = _interrupt_again
    try:
        from bot.cli.main import main as run
    except KeyboardInterrupt:
        if "--json" in sys.argv:
            print('{"error": "interrupted", "exit_code": 1}')
        print("error: interrupted", file=sys.stderr)
        return 1
    return run()


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C that fell into a callback whose errors Python drops: a weak reference's, a finaliser's, C code's."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(RETRY_SECONDS, _interrupt)
    again.daemon = True
    again.start()


def _interrupt() -> None:
    """Interrupt the main thread: by a real signal, where there are any, as only that ends a call in which it waits."""
    import signal

    main_thread = threading.main_thread().ident
    if sys.platform == "win32" or main_thread is None:
        _thread.interrupt_main()
    else:
        signal.pthread_kill(main_thread, signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
