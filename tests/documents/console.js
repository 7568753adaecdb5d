// Runs a browser's program in Node: `node console.js PROGRAM`. A line of input is evaluated in the program's world, as
// in a browser's console. What a page would supply to it is here.
'use strict'

const fs = require('node:fs')
const readline = require('node:readline')
const vm = require('node:vm')

globalThis.WebSocket = require('ws')
globalThis.navigator ??= { userAgent: `Node.js/${process.versions.node}` }
globalThis.displayMessage = (text, role) => console.log(`displayMessage ${role}: ${text}`)

const program = process.argv[2]
vm.runInThisContext(fs.readFileSync(program, 'utf8'), { filename: program })
readline.createInterface({ input: process.stdin }).on('line', (line) => vm.runInThisContext(line))
