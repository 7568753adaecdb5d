// Runs a mini program's pages in Node: `node wx.js PAGE`. It has what the documents' pages ask of WeChat's runtime, and
// prints what a person would see: changes of the page's data, and toasts. A line of input is evaluated beside the page,
// which is `page` there; `open(PATH)` goes to the next page, which finds the storage of the one before.
'use strict'

const fs = require('node:fs')
const readline = require('node:readline')
const vm = require('node:vm')
const WebSocket = require('ws')

const storage = new Map()

// A task is no data to be shown.
const shown = (changes) => JSON.stringify(changes, (key, value) => (key === 'socketTask' ? undefined : value))

function connectSocket({ url, success }) {
  const socket = new WebSocket(url)
  queueMicrotask(() => success?.({ errMsg: 'connectSocket:ok' }))
  return {
    onOpen: (listener) => socket.on('open', () => listener({})),
    onMessage: (listener) => socket.on('message', (data) => listener({ data: data.toString() })),
    onClose: (listener) => socket.on('close', (code, reason) => listener({ code, reason: reason.toString() })),
    onError: (listener) => socket.on('error', (error) => listener({ errMsg: error.message })),
    send: ({ data, success, fail }) =>
      socket.send(data, (error) =>
        error ? fail?.({ errMsg: error.message }) : success?.({ errMsg: 'sendSocketMessage:ok' }),
      ),
    close: () => socket.close(1000),
  }
}

function request({ url, method = 'GET', data, success, fail }) {
  const headers = { 'content-type': 'application/json' }
  fetch(url, { method, headers, body: JSON.stringify(data) })
    .then(async (response) => ({ statusCode: response.status, data: await response.json() }))
    .then(success, (error) => fail?.({ errMsg: error.message }))
}

globalThis.wx = {
  connectSocket,
  request,
  login: ({ success }) => setImmediate(success, { code: 'test_code', errMsg: 'login:ok' }),
  showToast: ({ title, icon }) => console.log(`toast ${icon}: ${title}`),
  setStorageSync: (key, value) => void storage.set(key, value),
  getStorageSync: (key) => storage.get(key) ?? '',
}

globalThis.App = (definition) => definition.onLaunch?.()

globalThis.Page = (definition) => {
  globalThis.page = {
    ...definition,
    setData(changes) {
      Object.assign(this.data, changes)
      console.log(`data ${shown(changes)}`)
    },
  }
  page.onLoad?.()
}

globalThis.open = (path) => vm.runInThisContext(fs.readFileSync(path, 'utf8'), { filename: path })

open(process.argv[2])
readline.createInterface({ input: process.stdin }).on('line', (line) => vm.runInThisContext(line))
