#!/usr/bin/env node
// The command's entry point: loads command.cjs with the code that V8 compiled when it was built, which halves the time to load it.
// Another version of Node refuses that code, and compiles.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { Script } from 'node:vm'

const filename = fileURLToPath(new URL('command.cjs', import.meta.url))
const codeCache = `${filename}.cache`
const cachedData = existsSync(codeCache) ? readFileSync(codeCache) : undefined
const script = new Script(readFileSync(filename, 'utf8'), { filename, cachedData })
script.runInThisContext()(createRequire(filename), filename)
