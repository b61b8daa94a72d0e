"""A cache backend for Django: one cache for all processes of a machine, without a server, in a tenure.Map.

    CACHES = {
        "default": {
            "BACKEND": "django_cache.TenureCache",
            "LOCATION": "mysite",                       # the name of a space
            "TIMEOUT": 300,
            "OPTIONS": {"MAX_ENTRIES": 10_000, "MAX_BYTES": 64 << 20},
        }
    }

All workers that name the same LOCATION share the cache. A worker may be killed at any moment: the others neither wait nor lose anything.
`add` and `incr` are one step, also between processes. Beyond MAX_BYTES what nobody looked at lately is evicted. The cache outlives its
workers; `tenure rm mysite` or a reboot ends it. Those that open it are of one user, and of one version of tenure.

Values are pickled, as those of Django's own backends: who can write to the space can run code in its readers.
"""

import os
import pickle
import threading
from typing import Any, Dict, Iterable, Optional, Tuple, Union

import tenure

try:
    from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
except ImportError:
    # As much of Django's class as is used here, for programs without Django.
    DEFAULT_TIMEOUT = object()

    class BaseCache:
        def __init__(self, params: Dict[str, Any]) -> None:
            self.default_timeout = params.get("TIMEOUT", 300)
            self.key_prefix = params.get("KEY_PREFIX", "")
            self.version = params.get("VERSION", 1)

        def make_key(self, key: str, version: Optional[int] = None) -> str:
            return f"{self.key_prefix}:{self.version if version is None else version}:{key}"

        def validate_key(self, key: str) -> None:
            pass


Timeout = Union[None, int, float, object]


class TenureCache(BaseCache):
    def __init__(self, location: str, params: Dict[str, Any]) -> None:
        super().__init__(params)
        options = params.get("OPTIONS", {})
        self._location = location
        self._entries = int(options.get("MAX_ENTRIES", 10_000))
        self._bytes = int(options.get("MAX_BYTES", 64 << 20))
        self._lock = threading.Lock()
        self._opened: Optional[Tuple[int, tenure.Space, tenure.Map]] = None

    @property
    def _map(self) -> tenure.Map:
        opened = self._opened
        # A forked worker becomes a member of its own.
        if opened is None or opened[0] != os.getpid():
            return self._open()
        return opened[2]

    def _open(self) -> tenure.Map:
        # Of a forked worker: a thread of the parent may have had it.
        if self._opened is not None and self._opened[0] != os.getpid():
            self._lock, self._opened = threading.Lock(), None
        with self._lock:
            if self._opened is None:
                slots = max(64, 1 << (self._entries - 1).bit_length())
                # Twice: what is replaced or evicted may be in use for a moment, and blocks are larger than what is in them.
                space = tenure.Space.open(self._location, scratch=2 * self._bytes + (16 << 20), container_slots=slots, slots=1)
                member = space.join()
                cache = member.map(self._entries, "cache", max_bytes=self._bytes, or_open=True)
                try:
                    # In a slot it outlives all workers.
                    member.slots.keep(cache)
                except (tenure.Kept, tenure.SlotFull):
                    pass
                self._opened = os.getpid(), space, cache
            return self._opened[2]

    def _key(self, key: str, version: Optional[int]) -> bytes:
        made = self.make_key(key, version=version)
        self.validate_key(made)
        return made.encode()

    def _seconds(self, timeout: Timeout) -> Optional[float]:
        """How long; None is for ever, and 0 or less is no time at all."""
        return self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout

    def get(self, key: str, default: Any = None, version: Optional[int] = None) -> Any:
        data = self._map.get(self._key(key, version))
        return default if data is None else pickle.loads(data)

    def set(self, key: str, value: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: Optional[int] = None) -> None:
        data, seconds = pickle.dumps(value, pickle.HIGHEST_PROTOCOL), self._seconds(timeout)
        if seconds is not None and seconds <= 0:
            self.delete(key, version=version)
        else:
            self._map.set(self._key(key, version), data, ttl=seconds)

    def add(self, key: str, value: Any, timeout: Timeout = DEFAULT_TIMEOUT, version: Optional[int] = None) -> bool:
        data, seconds = pickle.dumps(value, pickle.HIGHEST_PROTOCOL), self._seconds(timeout)
        if seconds is not None and seconds <= 0:
            return not self.has_key(key, version=version)
        return self._map.add(self._key(key, version), data, ttl=seconds)

    def touch(self, key: str, timeout: Timeout = DEFAULT_TIMEOUT, version: Optional[int] = None) -> bool:
        """If another process sets the key at the same moment, the value may stay the one before."""
        name, seconds = self._key(key, version), self._seconds(timeout)
        data = self._map.get(name)
        if data is None:
            return False
        if seconds is not None and seconds <= 0:
            return self.delete(key, version=version)
        self._map.set(name, data, ttl=seconds)
        return True

    def delete(self, key: str, version: Optional[int] = None) -> bool:
        return self._map.pop(self._key(key, version), None) is not None

    def has_key(self, key: str, version: Optional[int] = None) -> bool:
        return self._key(key, version) in self._map

    def __contains__(self, key: str) -> bool:
        return self.has_key(key)

    def incr(self, key: str, delta: int = 1, version: Optional[int] = None) -> int:
        name = self._key(key, version)
        while True:
            data = self._map.get(name)
            if data is None:
                raise ValueError(f"Key '{key}' not found")
            value = pickle.loads(data) + delta
            # The time that is left stays as it is.
            if self._map.compare_exchange(name, data, pickle.dumps(value, pickle.HIGHEST_PROTOCOL)):
                return value

    def decr(self, key: str, delta: int = 1, version: Optional[int] = None) -> int:
        return self.incr(key, -delta, version=version)

    def get_many(self, keys: Iterable[str], version: Optional[int] = None) -> Dict[str, Any]:
        found = ((key, self._map.get(self._key(key, version))) for key in keys)
        return {key: pickle.loads(data) for key, data in found if data is not None}

    def clear(self) -> None:
        self._map.clear()
