import { execFile, spawnSync } from 'node:child_process'
import { basename, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { GraphSize } from './code-graph.ts'
import { type PanResult, parsePanOutput } from './pan-output.ts'

const MODEL = resolve('bench/spin/split-lock.pml')
/** Hash table of 2^20 slots: a model has some thousand states. */
const HASH_SLOTS = '-w20'
const run = promisify(execFile)

/** What SPIN says of the model with one mistake or none. */
export interface ModelCheck extends PanResult {
  /** Preemptions of the last search: those a violation needs. */
  readonly bound: number
  /** States and transitions under that bound, those after a violation included. */
  readonly graph: GraphSize
  /** Wall time of spin -a and gcc, and of pan, of the searches under all bounds. */
  readonly buildSeconds: number
  readonly panSeconds: number
}

/** SPIN cannot do its part: it, the compiler or the model is not as it should be. */
export class CannotCheck extends Error {}

/** Debian packages of the programs that are needed and not here. */
export function missingPackages(): string[] {
  return ['spin', 'gcc'].filter((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined)
}

/**
 * Searches the model with no preemption, then one, two, … up to `bound` or a violation, as `explore` does.
 * @param variant null: the good code @param folder for what spin and gcc write
 */
export async function checkModel(variant: string | null, bound: number, folder: string): Promise<ModelCheck> {
  let buildSeconds = 0
  let panSeconds = 0
  for (let preemptions = 0; ; preemptions++) {
    buildSeconds += await seconds(() => build(variant, preemptions, folder))
    let text = ''
    panSeconds += await seconds(async () => {
      text = await pan(folder)
    })
    const result = parsePanOutput(text)
    if (result.verdict === 'holds' && preemptions < bound) continue
    // Assertions are not looked at: the whole graph.
    const { states, transitions } = parsePanOutput(await pan(folder, '-A'))
    return { ...result, bound: preemptions, graph: { states, transitions }, buildSeconds, panSeconds }
  }
}

/** Breadth first, without reduction and with every variable in the state: states can be counted and compared. */
async function build(variant: string | null, preemptions: number, folder: string): Promise<void> {
  const name = (variant ?? 'good').replaceAll('-', '_')
  await output('spin', ['-o2', `-DVARIANT=${name}`, `-DBOUND=${preemptions}`, '-a', MODEL], folder)
  await output('gcc', ['-O2', '-DSAFETY', '-DBFS', '-DNOREDUCE', '-o', 'pan', 'pan.c'], folder)
}

const pan = (folder: string, ...options: string[]): Promise<string> =>
  output(resolve(folder, 'pan'), [HASH_SLOTS, ...options], folder)

/** @throws CannotCheck with what the program complained of */
async function output(program: string, options: readonly string[], folder: string): Promise<string> {
  try {
    return (await run(program, options, { cwd: folder })).stdout
  } catch (error) {
    const { stdout, stderr, message } = error as { stdout: string; stderr: string; message: string }
    throw new CannotCheck(
      `${basename(program)}: ${/^.*\berror\b.*$/im.exec(`${stderr}\n${stdout}`)?.[0] ?? message.split('\n')[0]}`,
    )
  }
}

async function seconds(work: () => Promise<void>): Promise<number> {
  const started = performance.now()
  await work()
  return (performance.now() - started) / 1000
}
