import { CodeBuffer } from '../wasm/code.ts'
import { I32, I64, V128 } from '../wasm/opcodes.ts'

/** Imports of a region module in function-index order: [name, type index]. Indices: FN_* in emitter.ts. */
const IMPORTS: [string, number][] = [
  ['readSlow', 1],
  ['writeSlow', 1],
  ['modifySlow', 1],
  ['commit', 2],
  ['callOut', 1],
  ['assist', 1],
  ['flags', 3],
  ['mulHighU', 4],
  ['mulHighS', 4],
  ['readPointer', 5],
  ['modifyPointer', 5],
  ['storePointer', 5],
  ['floatAttempt', 6],
  ['floatComplete', 6],
]

const TYPES: [number[], number[]][] = [
  [[I32, I32, I32], [I32]], // region(ctx, fpu, entry)
  [[I32, I32, I32, I32], [I32]],
  [[I32], [I32]],
  [[I32, I64, I64, I64], [I32]],
  [[I64, I64], [I64]],
  [[I32, I64, I32], [I32]],
  [
    [I32, I32, I32, V128, V128, V128, I32],
    [V128, I32],
  ],
]

/** Everything of a region module before its code section: the same for all. */
function header(): Uint8Array {
  const out = new CodeBuffer(256)
  for (const b of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.byte(b)
  const types = new CodeBuffer(128)
  types.u32(TYPES.length)
  for (const [params, results] of TYPES) {
    types.byte(0x60)
    types.u32(params.length)
    for (const p of params) types.byte(p)
    types.u32(results.length)
    for (const r of results) types.byte(r)
  }
  out.section(1, types)
  const imports = new CodeBuffer(128)
  imports.u32(IMPORTS.length + 1)
  for (const [name, type] of IMPORTS) {
    imports.name('m')
    imports.name(name)
    imports.byte(0)
    imports.u32(type)
  }
  imports.name('m')
  imports.name('memory')
  imports.byte(2)
  imports.byte(0)
  imports.u32(1)
  out.section(2, imports)
  const functions = new CodeBuffer(8)
  functions.u32(1)
  functions.u32(0)
  out.section(3, functions)
  const exports = new CodeBuffer(16)
  exports.u32(1)
  exports.name('r')
  exports.byte(0)
  exports.u32(IMPORTS.length)
  out.section(7, exports)
  return out.view().slice()
}

const HEADER = header()

/** A module whose one function has this body (locals, code, end). */
export function regionModule(body: CodeBuffer): Uint8Array {
  const section = new CodeBuffer(body.length + 16)
  section.u32(1)
  section.u32(body.length)
  section.append(body.view())
  const out = new CodeBuffer(HEADER.length + section.length + 8)
  out.append(HEADER)
  out.section(10, section)
  return out.view()
}
