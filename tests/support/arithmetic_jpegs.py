"""Arithmetically coded JPEGs, which none of the encoders here writes: a gradient in grey, 24 x 24, by jpegtran."""

from __future__ import annotations

import base64

SEQUENTIAL = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO"
    "UlNSMj5aYVpQYEpRUk//yQALCAAYABgBAREA/8wABgAQEAX/2gAIAQEAAD8A/cEEgnGZg/eDtOxfHdRu7TGIz9bv/H8RmXlBF1vC"
    "wOSYxpfUrz7Z2fSMeRr/ADsyjy9D/DXVyBEnO7hpmKyKjOIBtcLdfkns/9k="
)
PROGRESSIVE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO"
    "UlNSMj5aYVpQYEpRUk//ygALCAAYABgBAREA/8wABAAQ/9oACAEBAAAAAfuAKIDGAgf/AMwLsP/MAAQQBf/aAAgBAQABBQKbTQee"
    "zWPUnGlyn01idpsfnzaNwP/MAAQQBf/aAAgBAQAGPwLA/8wABBAF/9oACAEBAAE/IeJ5iXCd+TxwSnfze8soFv/aAAgBAQAAABAj"
    "/8wABBAF/9oACAEBAAE/EO98crhdHNkS+8eWhnwcQ/3MyWozLP/Z"
)
