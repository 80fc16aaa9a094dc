import { Decoded, type InstructionDecoder } from '../decoder/decoder.ts'
import { FlowControl, MNEMONIC_NAMES } from '../decoder/iced-tables.ts'
import {
  BUDGET,
  CC_A,
  CC_B,
  CC_OP,
  CC_RES,
  CONTEXT_TAG,
  GPR,
  REGION_COUNTER_BASE,
  RIP,
  TLB_MASK,
  TLB_POINTER,
} from '../memory-map.ts'
import { MODE_ALIGNMENT_CHECK, MODE_CODE_16, MODE_CODE_32, MODE_CODE_MASK, MODE_ENDBRANCH_DUE } from '../mode.ts'
import { CodeBuffer } from '../wasm/code.ts'
import { I32, I64, VOID, W, type WasmType } from '../wasm/opcodes.ts'
import { jumpCacheEntry } from '../wasm/runtime-module.ts'
import { definitions } from './definitions.ts'
import {
  accessInfo,
  Emitter,
  EXIT_BUDGET,
  EXIT_FAULT,
  EXIT_HOT,
  EXIT_JUMP,
  LOCAL_BUDGET,
  LOCAL_CC_A,
  LOCAL_CC_B,
  LOCAL_CC_OP,
  LOCAL_CC_RES,
  LOCAL_CTX,
  LOCAL_ENTRY,
  LOCAL_GPR,
  LOCAL_RET,
  LOCAL_TLB,
  LOCAL_TLB_MASK,
} from './emitter.ts'
import { binary, type Expr, i32, load, local, writeExpr } from './expr.ts'
import { InstructionSite } from './instruction.ts'
import { regionModule } from './region-module.ts'

/** Where code is compiled from: a window of bytes starting at a page's first byte, and how it is executed. */
export interface CodeWindow {
  /** RIP of the page's first byte (code-segment base already subtracted). */
  ripLo: number
  ripHi: number
  mode: number
}

interface Block {
  start: number
  instructions: Decoded[]
  index: number
}

export interface CompiledRegion {
  /** Module bytes. */
  bytes: Uint8Array
  /** Page offset of each block's first instruction -> block index. */
  entries: Map<number, number>
  /** Byte ranges [start, end) of the page that were decoded, in pairs. */
  extents: number[]
  instructions: number
}

const MAX_BLOCK = 48

/** Instructions of the block under way that have not retired when instruction `i` of `n` runs. */
const unretiredAt = (i: number, n: number): number => n - i

/** Finds the code reachable inside one page from an entry and writes one WebAssembly function for it. */
export class RegionCompiler {
  private readonly decoder: InstructionDecoder
  readonly e = new Emitter()
  readonly site = new InstructionSite(this.e)
  private readonly pool: Decoded[] = []
  private poolUsed = 0
  private blocks: Block[] = []
  private blockAt = new Map<number, Block>()
  /** Depth label of each block's end, for forward branches; of the block being written, its self loop. */
  private labels: number[] = []
  private current!: Block
  private selfLabel = 0
  /** Table slot when computed jumps may stay inside, else -1. */
  private slot = -1
  private tableSlot = 0
  private counted = false

  private readonly insideJumps: boolean
  private readonly selfLoops: boolean

  constructor(
    decoder: InstructionDecoder,
    options: { insideJumps?: boolean; selfLoops?: boolean; fusedConditions?: boolean; vectorLocals?: boolean } = {},
  ) {
    this.decoder = decoder
    this.insideJumps = options.insideJumps ?? true
    this.selfLoops = options.selfLoops ?? true
    this.e.flags.fused = options.fusedConditions ?? true
    this.e.vectors.enabled = options.vectorLocals ?? true
  }

  /**
   * Compiles from `entry` (page offset). The decoder's window is set to the page's bytes.
   * @param limit most instructions to include (1: a region for single-stepping)
   * @param slot table slot the region will have: computed jumps that stay inside are recognized by it
   * @param hot compile for speed instead of for a quick start
   * @returns null when the first instruction is not decodable within the window
   */
  compile(window: CodeWindow, entry: number, limit: number, slot: number, hot: boolean): CompiledRegion | null {
    this.poolUsed = 0
    this.tableSlot = slot
    this.e.hot = hot
    this.e.alignmentCheck = (window.mode & MODE_ALIGNMENT_CHECK) !== 0
    this.counted = !hot && limit !== 1
    this.slot = limit === 1 || !this.insideJumps ? -1 : slot
    this.site.pageLo = window.ripLo
    this.site.pageHi = window.ripHi
    this.site.mode = window.mode
    const found = this.discover(entry, limit)
    if (found === 0) return null
    this.emit(entry, limit === 1)
    return this.assemble(window, found)
  }

  // ---- discovery ----
  private take(): Decoded {
    if (this.poolUsed === this.pool.length) this.pool.push(new Decoded())
    return this.pool[this.poolUsed++]
  }

  private discover(entry: number, limit: number): number {
    const decoded = new Map<number, Decoded>()
    const leaders = new Set<number>([entry])
    const work = [entry]
    let count = 0
    while (work.length > 0 && count < limit) {
      let at = work.shift()!
      while (count < limit && at < 4096 && !decoded.has(at)) {
        const d = this.take()
        if (!this.decoder.decode(at, d)) break
        decoded.set(at, d)
        count++
        const next = at + d.length
        if (!this.follow(d, next, leaders, work)) break
        at = next
      }
    }
    this.formBlocks(decoded, leaders)
    return count
  }

  /** Notes where control can go from `d`; false when it does not simply go on at `next`. */
  private follow(d: Decoded, next: number, leaders: Set<number>, work: number[]): boolean {
    const push = (at: number) => {
      if (at < 0 || at >= 4096) return
      leaders.add(at)
      work.push(at)
    }
    switch (d.flowControl) {
      case FlowControl.Next:
        return true
      case FlowControl.ConditionalBranch:
        push(next)
        push(next + d.branchDisplacement)
        return false
      case FlowControl.UnconditionalBranch:
        if (isNear(d)) push(next + d.branchDisplacement)
        return false
      case FlowControl.Call:
        if (isNear(d)) push(next + d.branchDisplacement)
        push(next)
        return false
      case FlowControl.IndirectCall:
      case FlowControl.Interrupt:
        push(next)
        return false
      default:
        return false
    }
  }

  private formBlocks(decoded: Map<number, Decoded>, leaders: Set<number>): void {
    this.blocks = []
    this.blockAt = new Map()
    const starts = [...leaders].filter((at) => decoded.has(at)).sort((a, b) => a - b)
    const queue = starts.slice()
    const seen = new Set(starts)
    for (let q = 0; q < queue.length; q++) {
      const start = queue[q]
      const block: Block = { start, instructions: [], index: 0 }
      let at = start
      for (;;) {
        const d = decoded.get(at)
        if (d === undefined) break
        if (at !== start && seen.has(at)) break
        if (block.instructions.length === MAX_BLOCK) {
          seen.add(at)
          queue.push(at)
          break
        }
        block.instructions.push(d)
        at += d.length
        if (d.flowControl !== FlowControl.Next) break
      }
      this.blockAt.set(start, block)
      this.blocks.push(block)
    }
    this.blocks.sort((a, b) => a.start - b.start)
    this.blocks.forEach((block, i) => {
      block.index = i
    })
  }

  // ---- emission ----
  private emit(_entry: number, single: boolean): void {
    const e = this.e
    e.reset()
    e.exitDepth = e.openBlock()
    e.faultDepth = e.openBlock()
    e.nextDepth = e.openLoop()
    const n = this.blocks.length
    this.labels = new Array(n)
    for (let i = n - 1; i >= 0; i--) this.labels[i] = e.openBlock()
    e.eval(local(LOCAL_ENTRY, I32))
    e.code.byte(W.br_table)
    e.code.u32(n - 1)
    for (let i = 0; i < n; i++) e.code.u32(i)
    for (let i = 0; i < n; i++) {
      e.end()
      this.emitBlock(this.blocks[i], single)
    }
    e.end() // loop
    e.code.byte(W.unreachable)
    e.end() // fault
    e.setCtx64(RIP, this.site.ripAt(0))
    e.assign(local(LOCAL_RET, I32), i32(EXIT_FAULT))
    e.end() // exit
  }

  private emitBlock(block: Block, single: boolean): void {
    const e = this.e
    this.current = block
    const count = block.instructions.length
    const last = block.instructions[count - 1]
    const loops = this.selfLoops && !single && isNear(last) && last.offset + last.length + last.branchDisplacement === block.start
    if (loops) this.selfLabel = e.openLoop()
    e.flags.forget()
    this.takeBudget(block, count)
    for (let i = 0; i < count; i++) {
      const d = block.instructions[i]
      e.beginInstruction(accessInfo(0, d.offset, unretiredAt(i, count)))
      this.site.d = d
      this.emitInstruction(d)
    }
    if (last.flowControl === FlowControl.Next) this.goTo(last.offset + last.length)
    if (loops) {
      e.end()
      e.code.byte(W.unreachable)
    }
    this.selfLabel = 0
  }

  /** Enters the block only if the budget covers it. */
  private takeBudget(block: Block, count: number): void {
    const e = this.e
    const budget = local(LOCAL_BUDGET, I32)
    e.assign(budget, binary(W.i32_sub, I32, budget, i32(count)))
    e.if(binary(W.i32_lt_s, I32, budget, i32(0)), () => {
      e.assign(budget, binary(W.i32_add, I32, budget, i32(count)))
      e.exit(EXIT_BUDGET, this.site.ripAt(block.start))
    })
  }

  private emitInstruction(d: Decoded): void {
    const definition = definitions[d.mnemonic]
    this.site.region = this
    if ((this.site.mode & MODE_ENDBRANCH_DUE) !== 0 && !endsTracking(this.site)) this.site.callOutAndJump('miss-endbranch')
    else if (definition === undefined || !this.site.isAvailable()) this.site.raiseUndefined()
    else definition(this.site)
    this.e.vectors.endInstruction()
  }

  // ---- control transfer, used by definitions ----
  /** Ends the block: go on at `offset` from the start of the page. */
  goTo(offset: number): void {
    const e = this.e
    const target = this.blockAt.get(offset)
    if (target === undefined) {
      e.exit(EXIT_JUMP, this.site.ripAt(offset))
      return
    }
    if (target.index === this.current.index + 1 && this.selfLabel === 0) {
      // The next block's code follows.
      return
    }
    this.branchTo(target)
  }
  private branchTo(target: Block): void {
    const e = this.e
    if (target.index === this.current.index && this.selfLabel !== 0) e.br(this.selfLabel)
    else if (target.index > this.current.index) e.br(this.labels[target.index])
    else {
      e.assign(local(LOCAL_ENTRY, I32), i32(target.index))
      e.br(e.nextDepth)
    }
  }
  /** Ends the block: to `taken` when the condition holds, else on at `otherwise` (page offsets). */
  branchIf(condition: Expr, taken: number, otherwise: number): void {
    const e = this.e
    const target = this.blockAt.get(taken)
    if (target !== undefined && target.index > this.current.index) e.brIf(this.labels[target.index], condition)
    else if (target !== undefined && target.index === this.current.index && this.selfLabel !== 0)
      e.brIf(this.selfLabel, condition)
    else {
      e.if(condition, () => {
        if (target === undefined) e.exit(EXIT_JUMP, this.site.ripAt(taken))
        else this.branchTo(target)
      })
    }
    this.goTo(otherwise)
  }
  /** Ends the block: go on at a computed RIP. */
  goToValue(rip: Expr): void {
    const e = this.e
    const target = e.let(rip)
    if (this.slot >= 0) this.stayInside(target)
    e.exit(EXIT_JUMP, target)
  }

  /** Looks the target up in the jump cache; when it is a block of this region, goes on there without leaving. */
  private stayInside(rip: Expr): void {
    const e = this.e
    const entry = e.let(jumpCacheEntry(rip))
    const hit = binary(
      W.i32_and,
      I32,
      binary(W.i64_eq, I32, load(W.i64_load, I64, entry, 0), rip),
      binary(W.i32_eq, I32, load(W.i32_load, I32, entry, 8), e.ctx32(CONTEXT_TAG)),
    )
    e.if(hit, () => {
      const place = e.let(load(W.i32_load, I32, entry, 12))
      e.if(binary(W.i32_eq, I32, binary(W.i32_and, I32, place, i32(0xffff)), i32(this.slot)), () => {
        e.assign(local(LOCAL_ENTRY, I32), binary(W.i32_shr_u, I32, place, i32(16)))
        e.br(e.nextDepth)
      })
    })
  }

  // ---- assembly ----
  private assemble(_window: CodeWindow, instructions: number): CompiledRegion {
    const e = this.e
    const out = new CodeBuffer(e.code.length + 1024)
    writeLocals(out, e.temporaries)
    const put = (index: number, value: Expr) => {
      writeExpr(out, value)
      out.byte(W.local_set)
      out.u32(index)
    }
    if (this.counted) writeEntryCount(out, this.tableSlot)
    for (let r = 0; r < 16; r++) if (e.usedGpr & (1 << r)) put(LOCAL_GPR + r, e.ctx64(GPR + r * 8))
    if (e.usesFlags) {
      put(LOCAL_CC_OP, e.ctx32(CC_OP))
      put(LOCAL_CC_A, e.ctx64(CC_A))
      put(LOCAL_CC_B, e.ctx64(CC_B))
      put(LOCAL_CC_RES, e.ctx64(CC_RES))
    }
    if (e.usesMemory) {
      put(LOCAL_TLB, e.ctx32(TLB_POINTER))
      put(LOCAL_TLB_MASK, e.ctx32(TLB_MASK))
    }
    put(LOCAL_BUDGET, e.ctx32(BUDGET))
    e.vectors.writePrologue(out)
    e.vectors.writeCode(out)
    writeEpilogue(out, e)
    const entries = new Map<number, number>()
    const extents: number[] = []
    for (const block of this.blocks) {
      entries.set(block.start, block.index)
      const last = block.instructions[block.instructions.length - 1]
      extents.push(block.start, last.offset + last.length)
    }
    return { bytes: regionModule(out), entries, extents, instructions }
  }
}

function writeLocals(out: CodeBuffer, temporaries: readonly WasmType[]): void {
  const fixed: [number, WasmType][] = [
    [16, I64],
    [1, I32],
    [3, I64],
    [4, I32],
  ]
  out.u32(fixed.length + temporaries.length)
  for (const [count, type] of fixed) {
    out.u32(count)
    out.byte(type)
  }
  for (const type of temporaries) {
    out.u32(1)
    out.byte(type)
  }
}

/** A cold region counts its entries down and asks to be compiled for speed instead of running when they are used up. */
function writeEntryCount(out: CodeBuffer, slot: number): void {
  const at = i32(REGION_COUNTER_BASE + slot * 4)
  const ret = local(LOCAL_RET, I32)
  const store = (value: Expr) => {
    writeExpr(out, value)
    out.byte(W.local_tee)
    out.u32(LOCAL_RET)
  }
  writeExpr(out, at)
  store(binary(W.i32_sub, I32, load(W.i32_load, I32, at, 0), i32(1)))
  out.byte(W.i32_store)
  out.byte(0)
  out.u32(0)
  writeExpr(out, ret)
  out.byte(W.i32_eqz)
  out.byte(W.if)
  out.byte(VOID)
  writeExpr(out, i32(EXIT_HOT))
  out.byte(W.return)
  out.byte(W.end)
}

function writeEpilogue(out: CodeBuffer, e: Emitter): void {
  const store = (op: number, offset: number, value: Expr) => {
    writeExpr(out, local(LOCAL_CTX, I32))
    writeExpr(out, value)
    out.byte(op)
    out.byte(0)
    out.u32(offset)
  }
  for (let r = 0; r < 16; r++) if (e.dirtyGpr & (1 << r)) store(W.i64_store, GPR + r * 8, local(LOCAL_GPR + r, I64))
  if (e.dirtyFlags) {
    store(W.i32_store, CC_OP, local(LOCAL_CC_OP, I32))
    store(W.i64_store, CC_A, local(LOCAL_CC_A, I64))
    store(W.i64_store, CC_B, local(LOCAL_CC_B, I64))
    store(W.i64_store, CC_RES, local(LOCAL_CC_RES, I64))
  }
  store(W.i32_store, BUDGET, local(LOCAL_BUDGET, I32))
  writeExpr(out, local(LOCAL_RET, I32))
  out.byte(W.end)
}

/** What may come while ENDBRANCH is due: the one of the code's size; INT3 and INT1, which leave it due (SDM Vol. 1, 17.3.5). */
function endsTracking(s: InstructionSite): boolean {
  const { mnemonic } = s.d
  return mnemonic === (s.is64 ? ENDBR64 : ENDBR32) || mnemonic === INT3 || mnemonic === INT1
}
const [ENDBR32, ENDBR64, INT1, INT3] = ['Endbr32', 'Endbr64', 'Int1', 'Int3'].map((name) => MNEMONIC_NAMES.indexOf(name))

/** The instruction's target is near: a displacement from the next instruction. */
const isNear = (d: Decoded): boolean => d.opCount > 0 && d.opKind[0] >= 1 && d.opKind[0] <= 3

/** Code size in bits of a mode, as the decoder wants it. */
export const bitnessOf = (mode: number): 16 | 32 | 64 => {
  const size = mode & MODE_CODE_MASK
  return size === MODE_CODE_16 ? 16 : size === MODE_CODE_32 ? 32 : 64
}
