import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseCpuSpec } from '../../src/isa/cpu-grammar.ts'
import { loadKvm } from '../../src/kvm/module.ts'
import { bootKernel } from '../../src/linux/boot.ts'
import { spawn } from '../../src/linux/exec/spawn.ts'
import { InputSource } from '../../src/linux/fs/host-stream.ts'
import { ENGINE_SWITCHES, type EngineOptions } from '../../src/machine/code-cache.ts'
import { Machine } from '../../src/machine/machine.ts'
import { stateDigest } from '../../src/machine/state-digest.ts'
import { kernelProfile } from '../../src/profiles/index.ts'
import { oneFile } from '../linux/programs.ts'
import { icedModule } from '../machine/bare-host.ts'
import { exec, fixture, Scratch } from './command.ts'

/** All that two runs of the same program must have in common. */
interface Outcome {
  readonly status: number
  readonly output: string
  readonly instructions: { readonly host: number; readonly guest: number }
  readonly stateDigest: string
}

interface How {
  readonly engine?: EngineOptions
  /** Instructions in a slice of the run. */
  readonly slice?: number
}

/** Runs a program of test/fixtures/programs on a fresh host. */
function run(name: string, args: readonly string[], { engine = {}, slice = 1_000_000 }: How = {}): Outcome {
  const model = parseCpuSpec('SapphireRapids')
  const machine = new Machine({ model, processors: 2, physicalBytes: 32 << 20, decoder: icedModule(), engine })
  const kernel = bootKernel(machine, { profile: kernelProfile('linux-6.12') })
  loadKvm(kernel, machine)
  kernel.bind(`/opt/${name}`, oneFile(readFileSync(fixture(name))))
  let output = ''
  const sink = { write: (bytes: Uint8Array) => void (output += String.fromCharCode(...bytes)) }
  const stdin = new InputSource()
  stdin.end()
  spawn(kernel, { path: `/opt/${name}`, argv: [name, ...args], stdin, stdout: sink, stderr: sink })
  for (;;) {
    const end = kernel.runSlice(slice)
    if (end.state === 'running') continue
    if (end.state !== 'exited') throw new Error(`${name} is ${end.state}: ${output}`)
    const guest = machine.counters.guestRetired
    const instructions = { host: machine.retired - guest, guest }
    return { status: end.status, output, instructions, stateDigest: stateDigest(machine, kernel.pages.touched) }
  }
}

/** Program, and rounds so few that a run takes a moment, and so many that code becomes hot. */
const PROGRAMS: readonly (readonly [string, ...string[]])[] = [
  ['integer', '120'],
  ['strings', '8'],
  ['vectors', '8'],
  ['x87', '40'],
  ['signals', '2'],
  ['threads', '40'],
  ['processes', '8'],
  ['tiles', '6'],
  ['guest', '12'],
]

const WAYS: [string, How][] = [
  ['a second time', {}],
  ...ENGINE_SWITCHES.map((name): [string, How] => [`without ${name}`, { engine: { [name]: false } }]),
  ['in regions of one instruction', { engine: { regionLimit: 1 } }],
  ['in regions of five instructions', { engine: { regionLimit: 5 } }],
  ['with room for three regions', { engine: { regionSlots: 3 } }],
  ['in slices of 997 instructions', { slice: 997 }],
  ['with every switch off', { engine: { regionLimit: 1, ...Object.fromEntries(ENGINE_SWITCHES.map((name) => [name, false])) } }],
]

describe.each(PROGRAMS)('%s comes to the same end', (name, ...args) => {
  let plain: Outcome
  beforeAll(() => {
    plain = run(name, args)
  })

  test('that it is meant to come to', () => {
    expect(plain.status).toBe(0)
    expect(plain.output).toMatch(/^(\w+ -?[0-9a-f]+\n)+$/)
  })
  test.each(WAYS)('%s', (_way, how) => {
    expect(run(name, args, how)).toEqual(plain)
  })
})

describe("V8's compilers for WebAssembly make no difference either", () => {
  const scratch = new Scratch()
  afterAll(() => scratch.remove())

  /** Output, counts and final state of the real command. */
  async function outcome(program: string, rounds: string, node: string[]) {
    const file = scratch.at(`${program}${node}.json`)
    const { status, stdout, stderr } = await exec(['--stats-json', file], program, [rounds], { node })
    const { instructions, stateDigest } = JSON.parse(scratch.read(file.slice(scratch.path.length + 1)))
    return { status, stdout, stderr, instructions, stateDigest }
  }

  test.concurrent.each([
    ['vectors', '12'],
    ['x87', '30'],
    ['integer', '120'],
  ])('%s with the quick one only, and with the optimizing one only', async (program, rounds) => {
    const both = await outcome(program, rounds, [])
    expect(both).toMatchObject({ status: 0, stderr: '' })
    expect(await outcome(program, rounds, ['--liftoff-only'])).toEqual(both)
    expect(await outcome(program, rounds, ['--no-liftoff'])).toEqual(both)
  })
})
