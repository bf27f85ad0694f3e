"""An echo and a room on socketify (uWebSockets). usage: PORT"""

import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()
options = {"compression": CompressOptions.DISABLED, "max_payload_length": 1 << 24, "max_backpressure": 1 << 26}
app.ws("/", {**options, "message": lambda ws, message, opcode: ws.send(message, opcode)})
app.ws(
    "/room",
    {
        **options,
        "open": lambda ws: ws.subscribe("room"),
        "message": lambda ws, message, opcode: app.publish("room", message, OpCode.TEXT),
    },
)
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda config: None)
app.run()
