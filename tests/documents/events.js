// Reads an event stream as a web page does: `node events.js URL BODY`. Prints a line for each event: name and data.
'use strict'

// The reader is made for pages, and asks these of them.
globalThis.window = globalThis
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} }

const { fetchEventSource } = require('@microsoft/fetch-event-source')

const [url, body] = process.argv.slice(2)
fetchEventSource(url, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body,
  onmessage: ({ event, data }) => console.log(`${event} ${data}`),
  onerror: (error) => {
    throw error // or it asks again
  },
})
