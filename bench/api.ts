// Rates through the typed API, as JSON on standard output: `node scripts/ts.mjs bench/api.ts`. scripts/bench.ts runs it.
import { exitsPerSecond } from './api-exits.ts'
import { xsavePerSecond } from './api-xsave.ts'

process.stdout.write(`${JSON.stringify({ exits: exitsPerSecond(), ...xsavePerSecond() })}\n`)
