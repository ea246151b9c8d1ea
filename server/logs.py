"""Logs: one JSON object a line on stderr. Never query text, vectors, item text or secrets."""

import json
import logging
import sys
import time
import traceback

LOGGER = logging.getLogger("twinspire.server")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; fields come from `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            # Where it happened and what class it is; not its message, which may quote a request.
            frames = traceback.extract_tb(record.exc_info[2])
            line["exception"] = record.exc_info[0].__name__
            line["stack"] = [f"{frame.name}:{frame.lineno}" for frame in frames]
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs(level: int = logging.INFO) -> None:
    """Send this process's logs to stderr as JSON lines: ours from a level on, the libraries' warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    LOGGER.setLevel(level)


def log(
    message: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: object
) -> None:
    """Write one line, with fields."""
    LOGGER.log(level, message, exc_info=error, extra={"fields": fields})
