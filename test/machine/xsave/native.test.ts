import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { xstateLayout } from '../../../src/isa/xstate-layout.ts'
import { MachineMemory } from '../../../src/machine/machine-memory.ts'
import { PROCESSOR_BASE, SCRATCH_BASE, XCR0 } from '../../../src/machine/memory-map.ts'
import { AMD_XSAVE } from '../../../src/machine/xsave/behaviour.ts'
import { MODE_64, MODE_LONG, XRSTOR, XSAVE, XSAVEC, XSAVEOPT } from '../../../src/machine/xsave/forms.ts'
import { XsaveEngine } from '../../../src/machine/xsave/xsave-engine.ts'
import { fnv1a, toHex, xorshift } from '../amx/prng.ts'

// What a real processor did, see test/fixtures/xsave/README.md.
interface Prior {
  seed: number
  bv: number
  mxcsr: number
  zero: number
}
interface Case {
  n: number
  why?: string
  op: string
  compat: number
  mask: number
  prior: Prior
  image?: { seed: number; bv: string; xcomp: string; mxcsr: number; poke: [number, number] }
  head?: string
  header?: string
  fnv?: string
  sig: number
  trapno: number
  after: { bv: number; xgetbv1: number; head: string; fnv: string }
}
const lines = gunzipSync(readFileSync(new URL('../../fixtures/xsave/native.jsonl.gz', import.meta.url)))
  .toString()
  .trim()
  .split('\n')
const { info } = JSON.parse(lines[0]) as { info: { xcr0: number; mxcsr_mask: number; layout: number[][] } }
const cases = lines.slice(1).map((line) => JSON.parse(line) as Case)

const AREA = 2496
const PRIOR = SCRATCH_BASE
const IMAGE = SCRATCH_BASE + 0x1000
const OUT = SCRATCH_BASE + 0x2000
const PROBE = SCRATCH_BASE + 0x3000
const memory = new MachineMemory(0x10000)
const engine = new XsaveEngine(
  memory,
  PROCESSOR_BASE,
  xstateLayout(info.layout.map(([nr, size, offset, flags]) => ({ nr, size, offset, align64: (flags & 2) !== 0 }))),
  { behaviour: AMD_XSAVE },
)
memory.u32[(PROCESSOR_BASE + XCR0) >> 2] = info.xcr0

function putArea(at: number, seed: number, bv: bigint, xcomp: bigint, mxcsr: number, zero: number): void {
  memory.u8.set(zero !== 0 ? new Uint8Array(AREA) : xorshift(AREA, BigInt(seed)), at)
  if (zero !== 0) memory.view.setUint16(at, 0x37f, true)
  memory.view.setUint32(at + 24, mxcsr, true)
  if (zero === 2) {
    memory.u8.fill(0xa5, at + 288, at + 416)
    memory.u8.fill(0xa6, at + 704, at + 832)
    memory.u8.fill(0xa7, at + 1152, at + 1408)
  }
  memory.u8.fill(0, at + 512, at + 576)
  memory.setU64At(at + 512, bv)
  memory.setU64At(at + 520, xcomp)
}

const SAVE_FORMS: Record<string, typeof XSAVE | typeof XSAVEOPT | typeof XSAVEC> = { XSAVE, XSAVEOPT, XSAVEC }

function execute(c: Case, area: number): number {
  const mode = c.compat ? 0 : c.op.endsWith('64') ? MODE_64 : MODE_LONG
  const name = c.op.replace('64', '')
  if (name === 'FXSAVE') engine.fxsave(area, mode)
  else if (name === 'FXRSTOR') return engine.fxrstor(area, mode)
  else if (name === 'XRSTOR') return engine.restore(area, c.mask, XRSTOR, mode)
  else engine.save(area, c.mask, SAVE_FORMS[name], mode)
  return 0
}

/** All bytes that differ from the fill pattern, or were written at all, must lie in the extents. */
function outsideExtents(): boolean {
  const inside = new Uint8Array(AREA)
  for (let i = 0; i < engine.extentCount; i++)
    inside.fill(1, engine.extents[2 * i], engine.extents[2 * i] + engine.extents[2 * i + 1])
  return inside.some((yes, i) => yes === 0 && memory.u8[OUT + i] !== 0xee)
}

describe('XSAVE feature set against a Zen 5', () => {
  test.each(cases.map((c) => [`${c.n} ${c.op}${c.compat ? ' in compatibility mode' : ''} ${c.why ?? ''}`, c] as const))(
    '%s',
    (_, c) => {
      putArea(PRIOR, c.prior.seed, BigInt(c.prior.bv), 0n, c.prior.mxcsr, c.prior.zero)
      expect(engine.restore(PRIOR, -1, XRSTOR)).toBe(0)
      memory.u8.fill(0xee, OUT, OUT + AREA)
      if (c.image !== undefined) {
        putArea(IMAGE, c.image.seed, BigInt(`0x${c.image.bv}`), BigInt(`0x${c.image.xcomp}`), c.image.mxcsr, 0)
        if (c.image.poke[0] >= 0) memory.u8[IMAGE + c.image.poke[0]] = c.image.poke[1]
      }
      const vector = execute(c, c.image === undefined ? OUT : IMAGE)
      expect(vector).toBe(c.trapno)
      if (c.image === undefined) {
        expect(toHex(memory.u8.subarray(OUT, OUT + 32))).toBe(c.head)
        expect(toHex(memory.u8.subarray(OUT + 512, OUT + 528))).toBe(c.header)
        expect(fnv1a(memory.u8, OUT, OUT + AREA)).toBe(c.fnv)
        expect(outsideExtents()).toBe(false)
      }
      memory.u8.fill(0, PROBE, PROBE + AREA)
      engine.save(PROBE, -1, XSAVE)
      expect(memory.u8[PROBE + 512]).toBe(c.after.bv)
      expect(engine.xgetbv1()).toBe(c.after.xgetbv1)
      expect(toHex(memory.u8.subarray(PROBE, PROBE + 32))).toBe(c.after.head)
      memory.u8.fill(0, PROBE + 512, PROBE + 576)
      expect(fnv1a(memory.u8, PROBE, PROBE + AREA)).toBe(c.after.fnv)
    },
  )
})
