"""Content types by file extension: a frozen table, so that an answer does not depend on the machine's /etc/mime.types.

Text types carry ``charset=utf-8``; JSON and XML based types have their own rules for that (RFC 8259 8.1) and do not.
Source: the IANA registry of media types; JavaScript by RFC 9239.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CONTENT_TYPES", "DEFAULT", "content_type"]

DEFAULT = "application/octet-stream"

_TEXT = {
    "css": "text/css",
    "csv": "text/csv",
    "htm": "text/html",
    "html": "text/html",
    "ics": "text/calendar",
    "js": "text/javascript",
    "log": "text/plain",
    "markdown": "text/markdown",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "py": "text/plain",
    "rst": "text/plain",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "vcf": "text/vcard",
    "vtt": "text/vtt",
}

_OTHER = {
    "7z": "application/x-7z-compressed",
    "aac": "audio/aac",
    "apng": "image/apng",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "br": "application/octet-stream",
    "bz2": "application/x-bzip2",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "epub": "application/epub+zip",
    "flac": "audio/flac",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "gz": "application/gzip",
    "heic": "image/heic",
    "ico": "image/vnd.microsoft.icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "map": "application/json",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rss": "application/rss+xml",
    "rtf": "application/rtf",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "ttf": "font/ttf",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "application/xml",
    "xz": "application/x-xz",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}

CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {extension: f"{kind}; charset=utf-8" for extension, kind in _TEXT.items()} | _OTHER
)


def content_type(name: str) -> str:
    """The content type of a file by its name's extension; ``application/octet-stream`` for one not in the table."""
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    return CONTENT_TYPES.get(extension.lower(), DEFAULT) if dot and stem else DEFAULT
