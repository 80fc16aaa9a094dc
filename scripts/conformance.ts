// npm run conformance: the kernel's own test programs, built from Debian's unmodified source, on the modelled host.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { builtPrograms } from './conformance/build-programs.ts'
import { CannotPrepare } from './conformance/command.ts'
import { EXPECTED_TO_PASS, type Program } from './conformance/programs.ts'
import { type Result, runProgram } from './conformance/run-program.ts'
import { tableHead, tableRow } from './conformance/table.ts'

const USAGE = `npm run conformance -- --only amx_test          one of the kernel's tests
npm run conformance -- --dir ./my-tests         every program in a folder
  --json              one object a line instead of the table
  --only NAME         this program only (may be repeated)
  --dir DIR           run the static programs of a folder instead of the kernel's
  --rungs             only what scripts/conformance/rungs.json lists: what has passed before
  --cpu MODEL         CPU model of the modelled host (SapphireRapids)
  --kernel PROFILE    its kernel (linux-6.12)
  --timeout SECONDS   for each program (300)
The source and the built programs are kept in .cache/conformance, or in $WORLDSWITCH_CACHE.
`

interface Runnable extends Program {
  path: string
}

/** The programs of a folder: every executable file, in the order of their names. */
function programsOfFolder(folder: string): Runnable[] {
  const isProgram = (path: string) => statSync(path).isFile() && (statSync(path).mode & 0o111) !== 0
  return readdirSync(folder)
    .sort()
    .filter((name) => isProgram(join(folder, name)))
    .map((name) => ({ suite: basename(folder), name, path: join(folder, name) }))
}

/** The kernel's test programs, fetched and built if need be. */
function kernelPrograms(say: (line: string) => void): Runnable[] {
  const cache = resolve(process.env.WORLDSWITCH_CACHE ?? '.cache/conformance')
  const built = builtPrograms(cache, say)
  say(`tests of Linux ${built.version}, built static with ${built.compiler}`)
  return EXPECTED_TO_PASS.map((program) => ({ ...program, path: built.pathOf(program) }))
}

function select(programs: Runnable[], only: string[] | undefined, rungs: boolean | undefined): Runnable[] {
  const wanted: string[] | undefined = rungs ? JSON.parse(readFileSync('scripts/conformance/rungs.json', 'utf8')) : only
  const unknown = wanted?.find((name) => !programs.some((program) => program.name === name))
  if (unknown !== undefined)
    throw new CannotPrepare(`no program ${unknown}; there are: ${programs.map(({ name }) => name).join(' ')}`)
  return programs.filter(({ name }) => wanted === undefined || wanted.includes(name))
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean' },
      only: { type: 'string', multiple: true },
      dir: { type: 'string' },
      rungs: { type: 'boolean' },
      cpu: { type: 'string', default: 'SapphireRapids' },
      kernel: { type: 'string', default: 'linux-6.12' },
      timeout: { type: 'string', default: '300' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const say = (line: string) => process.stderr.write(`${line}\n`)
  const folder = values.dir && resolve(process.env.INIT_CWD ?? '.', values.dir)
  if (folder && !existsSync(folder)) throw new CannotPrepare(`no folder ${folder}`)
  const all = folder ? programsOfFolder(folder) : kernelPrograms(say)
  const chosen = select(all, values.only, values.rungs)
  if (chosen.length === 0) throw new CannotPrepare('no program to run')

  const print = (line: string) => process.stdout.write(`${line}\n`)
  if (!values.json) print(tableHead())
  const results: Result[] = []
  for (const { suite, name, path, leavesOut } of chosen) {
    const timeoutSeconds = Number(values.timeout)
    const options = { cpu: values.cpu, kernel: values.kernel, timeoutSeconds, ...(leavesOut !== undefined && { leavesOut }) }
    const result = await runProgram(suite, name, path, options)
    print(values.json ? JSON.stringify(result) : tableRow(result))
    results.push(result)
  }
  const count = (verdict: string) => results.filter(({ result }) => result === verdict).length
  if (!values.json) print(`${count('pass')} passed, ${count('fail')} failed, ${count('skip')} skipped`)
  // Of the kernel's list each has to pass; of somebody's folder none may fail.
  const good = folder ? count('fail') === 0 : count('pass') === results.length
  return good ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  const isUsage = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
  if (!(error instanceof CannotPrepare) && !isUsage) throw error
  process.stderr.write(`conformance: ${error.message}\n`)
  process.exitCode = 2
}
