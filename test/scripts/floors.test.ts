import { describe, expect, test } from 'vitest'
import { checkFloors } from '../../scripts/floors/check.ts'

const dependencies = ['iced-x86', 'commander', 'valibot']

/** Reasons the house gives against one file. */
const because = (path: string, text: string) => checkFloors(new Map([[path, text]]), dependencies).map((v) => v.because)

describe('floors', () => {
  test('a floor may import from itself and from every floor below it', () => {
    expect(because('kvm/vcpu/run.ts', "import { x } from '../msr/table.ts'")).toEqual([])
    expect(because('kvm/vcpu/run.ts', "import { x } from '../../machine/exits.ts'")).toEqual([])
    expect(because('cli/exec.ts', "import { x } from '../isa/xfeatures.ts'")).toEqual([])
  })

  test.each([
    ['isa/a.ts', '../machine/exits.ts', 'isa must not import from machine'],
    ['machine/a.ts', '../linux/errno.ts', 'machine must not import from linux'],
    ['linux/fs/a.ts', '../../kvm/door.ts', 'linux must not import from kvm'],
    ['kvm/a.ts', '../vmm/client.ts', 'kvm must not import from vmm'],
    ['vmm/a.ts', '../tools/trace.ts', 'vmm must not import from tools'],
    ['tools/a.ts', '../cli/exec.ts', 'tools must not import from cli'],
    ['linux/a.ts', '../index.ts', 'linux must not import from index'],
    ['index.ts', './cli/exec.ts', 'index must not import from cli'],
  ])('%s may not import %s', (path, specifier, reason) => {
    expect(because(path, `import { x } from '${specifier}'`)[0]).toContain(reason)
  })

  test.each([
    ["import type { X } from '../linux/errno.ts'"],
    ["export { x } from '../linux/errno.ts'"],
    ["export * from '../linux/errno.ts'"],
    ["import '../linux/errno.ts'"],
    ["const x = await import('../linux/errno.ts')"],
    ["type X = import('../linux/errno.ts').Errno"],
    ["import x = require('../linux/errno.ts')"],
    ["const x = require('../linux/errno.ts')"],
  ])('an import is found in the form: %s', (text) => {
    expect(because('machine/a.ts', text)).toContain('machine must not import from linux: src/linux/errno.ts')
  })

  test('an import written in a comment or a string is not one', () => {
    expect(because('isa/a.ts', "// import { x } from '../linux/errno.ts'\nconst s = \"import '../linux/errno.ts'\"")).toEqual([])
  })

  test('profiles know the architecture only, and are known from the kernel upward', () => {
    expect(because('profiles/linux-6.12.ts', "import { x } from '../isa/xfeatures.ts'")).toEqual([])
    expect(because('linux/a.ts', "import { x } from '../profiles/linux-6.12.ts'")).toEqual([])
    expect(because('profiles/linux-6.12.ts', "import { x } from '../machine/exits.ts'")).toHaveLength(1)
    expect(because('machine/a.ts', "import { x } from '../profiles/linux-6.12.ts'")).toHaveLength(1)
  })

  test('kvm sees of linux/fpu and linux/splitlock their doors only', () => {
    expect(because('kvm/a.ts', "import type { GuestFpu } from '../linux/fpu/door.ts'")).toEqual([])
    expect(because('kvm/a.ts', "import type { X } from '../linux/fpu/fpstate.ts'")[0]).toContain('only its door, door.ts')
    expect(because('kvm/a.ts', "import type { X } from '../linux/splitlock/mode.ts'")[0]).toContain('only its door, door.ts')
    expect(because('linux/a.ts', "import type { X } from './fpu/fpstate.ts'")).toEqual([])
  })

  test('Node belongs to the command alone', () => {
    expect(because('cli/exec.ts', "import { readFileSync } from 'node:fs'\nprocess.exit(0)")).toEqual([])
    expect(because('tools/a.ts', "import { readFileSync } from 'node:fs'")).toHaveLength(1)
    expect(because('tools/a.ts', "import { readFileSync } from 'fs/promises'")).toHaveLength(1)
    expect(because('linux/a.ts', 'const b = Buffer.from(process.argv[0])')).toHaveLength(2)
    expect(because('index.ts', 'export const a = process.env')).toHaveLength(1)
  })

  test('a modelled process is not Node’s', () => {
    expect(because('linux/a.ts', 'export const exit = (process: Process) => process.exit(0)')).toEqual([])
    expect(because('linux/a.ts', 'export const f = (task: Task) => task.process.exit(0)')).toEqual([])
  })

  test('clock and chance are refused where history must be deterministic', () => {
    expect(because('kvm/a.ts', 'const now = Date.now()')).toEqual(['kvm must be deterministic and reads Date.now'])
    expect(because('machine/a.ts', 'const r = globalThis.Math.random()')).toHaveLength(1)
    expect(because('linux/a.ts', 'const d = new Date()')).toHaveLength(1)
    expect(because('tools/a.ts', 'const now = performance.now()')).toEqual([])
  })

  test('packages are declared, and some have one place', () => {
    expect(because('machine/decoder/a.ts', "import { Decoder } from 'iced-x86'")).toEqual([])
    expect(because('machine/a.ts', "import { Decoder } from 'iced-x86'")).toHaveLength(1)
    expect(because('tools/a.ts', "import { Command } from 'commander'")).toHaveLength(1)
    expect(because('tools/a.ts', "import * as v from 'valibot'")).toEqual([])
    expect(because('tools/a.ts', "import x from 'left-pad'")[0]).toContain('not among package.json')
  })

  test('a file on no floor, or an import that leaves src/, is refused', () => {
    expect(because('helpers/a.ts', '')).toHaveLength(1)
    expect(because('tools/a.ts', "import { x } from '../../test/fixtures/a.ts'")[0]).toContain('outside src/')
    expect(because('cli/a.ts', "import p from '../../package.json'")).toEqual([])
    expect(because('tools/a.ts', "import p from '../../package.json'")).toHaveLength(1)
  })
})
