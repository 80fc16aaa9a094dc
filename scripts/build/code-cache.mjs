// Writes the code cache that launcher.mjs reads: runs the command once, then keeps everything V8 has compiled of it by the end.
//   node code-cache.mjs dist/cli/command.cjs exec -- PROGRAM
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { Script } from 'node:vm'

const filename = resolve(process.argv[2])
process.argv.splice(1, 2, filename)
const script = new Script(readFileSync(filename, 'utf8'), { filename })
process.on('exit', () => writeFileSync(`${filename}.cache`, script.createCachedData()))
script.runInThisContext()(createRequire(filename), filename)
