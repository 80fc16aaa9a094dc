import { TILE_DOT, type TileDot } from '../../amx/amx-unit.ts'
import { Register } from '../../decoder/iced-tables.ts'
import { BOUNCE, SPILL } from '../../memory-map.ts'
import { MODE_AMX_UD, MODE_CODE_64, MODE_CODE_MASK } from '../../mode.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { binary, i32, i64 } from '../../translate/expr.ts'
import { gprNumber, type InstructionSite } from '../../translate/instruction.ts'
import { I64, W } from '../../wasm/opcodes.ts'

/** AMX instructions: enabling is checked in compiled code, the rest by the AMX unit out of line. */

function outcome(p: Processor, vector: number): number {
  if (vector === 0) return CONTINUE
  if (vector > 0) p.raise(vector, 0, p.amx.reason)
  return EXIT_FAULT_EXACT
}
/** AMX instructions exist in 64-bit mode with XCR0[18:17] set; CR0.TS raises no #NM for them (SDM Vol. 1, 18.x: type AMX-E1..E6). */
const requireAmx = (s: InstructionSite): boolean => {
  if ((s.mode & MODE_AMX_UD) === 0 && (s.mode & MODE_CODE_MASK) === MODE_CODE_64) return true
  s.raise(6)
  return false
}
const tile = (s: InstructionSite, op: number): number => s.d.opRegister[op] - Register.TMM0

registerCallOut('ldtilecfg', (p, ctx) => {
  const w = (ctx.base + SPILL) >> 2
  const at = ctx.base + BOUNCE
  if (!p.machine.slow.readLinear(ctx.mem.i32[w], ctx.mem.i32[w + 1], at, 64)) return EXIT_FAULT_EXACT
  return outcome(p, p.amx.loadConfig(at))
})
registerCallOut('sttilecfg', (p, ctx) => {
  const w = (ctx.base + SPILL) >> 2
  const at = ctx.base + BOUNCE
  p.amx.storeConfig(at)
  return p.machine.slow.writeLinear(ctx.mem.i32[w], ctx.mem.i32[w + 1], at, 64) ? CONTINUE : EXIT_FAULT_EXACT
})
registerCallOut('tilerelease', (p) => {
  p.amx.release()
  return CONTINUE
})
registerCallOut('tilezero', (p, _ctx, t) => outcome(p, p.amx.zero(t)))
/** Base address at SPILL, row stride at SPILL + 8; argument: tile, bit 8 store. */
registerCallOut('tile-move', (p, ctx, argument) => {
  const w = (ctx.base + SPILL) >> 2
  const { i32: words } = ctx.mem
  const t = argument & 0xff
  if (argument & 0x100) return outcome(p, p.amx.store(t, words[w], words[w + 1], words[w + 2], words[w + 3], p.tileMemory))
  return outcome(p, p.amx.load(t, words[w], words[w + 1], words[w + 2], words[w + 3], p.tileMemory))
})
const DOTS = Object.entries(TILE_DOT) as [string, TileDot][]
/** Argument: dot product << 16, source 2 << 8, source 1 << 4, destination. */
registerCallOut('tile-dot', (p, _ctx, a) => outcome(p, p.amx.dot(DOTS[a >> 16][1], a & 15, (a >> 4) & 15, (a >> 8) & 15)))

define('LDTILECFG', (s) => withAddress(s, 'ldtilecfg'))
define('STTILECFG', (s) => withAddress(s, 'sttilecfg'))
function withAddress(s: InstructionSite, name: string): void {
  if (!requireAmx(s)) return
  s.e.setCtx64(SPILL, s.memoryAddress())
  s.callOut(name)
}
define('TILERELEASE', (s) => {
  if (requireAmx(s)) s.callOut('tilerelease')
})
define('TILEZERO', (s) => {
  if (requireAmx(s)) s.callOut('tilezero', i32(tile(s, 0)))
})
/** The index register times the scale is the distance of rows; base and displacement are the first row. */
const moveTile = (store: boolean) => (s: InstructionSite) => {
  if (!requireAmx(s)) return
  const { memoryIndex, memoryScale } = s.d
  s.e.setCtx64(SPILL, s.rowAddress())
  const index =
    memoryIndex === 0 ? i64(0) : binary(W.i64_shl, I64, s.e.gprNow(gprNumber(memoryIndex)), i64(Math.log2(memoryScale)))
  s.e.setCtx64(SPILL + 8, index)
  s.callOut('tile-move', i32(tile(s, store ? 1 : 0) | (store ? 0x100 : 0)))
}
define('TILELOADD', moveTile(false))
define('TILELOADDT1', moveTile(false))
define('TILESTORED', moveTile(true))
DOTS.forEach(([name], number) => {
  define(name, (s) => {
    if (requireAmx(s)) s.callOut('tile-dot', i32((number << 16) | (tile(s, 2) << 8) | (tile(s, 1) << 4) | tile(s, 0)))
  })
})
