import { BOUNCE, BUDGET, GPR, RIP, TLB_ENTRY_SIZE, TLB_MASK, TLB_POINTER } from '../memory-map.ts'
import { CodeBuffer } from '../wasm/code.ts'
import { I32, I64, V, V128, VOID, W, type WasmType } from '../wasm/opcodes.ts'
import { callOutId } from './call-outs.ts'
import {
  type Bits,
  binary,
  call,
  Expr,
  i32,
  i64,
  isLeaf,
  load,
  local,
  select,
  unary,
  wrap,
  writeExpr,
  writeOpcode,
} from './expr.ts'
import { FlagState } from './flag-state.ts'
import { VectorLocals } from './vector-locals.ts'

// Parameters and fixed locals of a region function.
export const LOCAL_CTX = 0
export const LOCAL_FPU = 1
export const LOCAL_ENTRY = 2
export const LOCAL_GPR = 3
export const LOCAL_CC_OP = 19
export const LOCAL_CC_A = 20
export const LOCAL_CC_B = 21
export const LOCAL_CC_RES = 22
export const LOCAL_TLB = 23
export const LOCAL_BUDGET = 24
export const LOCAL_RET = 25
export const LOCAL_TLB_MASK = 26
export const FIRST_TEMP = 27

// Functions every region imports, by index.
export const FN_READ_SLOW = 0
export const FN_WRITE_SLOW = 1
export const FN_MODIFY_SLOW = 2
export const FN_COMMIT = 3
export const FN_CALL_OUT = 4
export const FN_ASSIST = 5
export const FN_FLAGS = 6
export const FN_MUL_HIGH_U = 7
export const FN_MUL_HIGH_S = 8
export const FN_READ_POINTER = 9
export const FN_MODIFY_POINTER = 10
export const FN_STORE_POINTER = 11
export const FN_FLOAT_ATTEMPT = 12
export const FN_FLOAT_COMPLETE = 13

// What a region returns.
/** Go on at the context's RIP. */
export const EXIT_JUMP = 0
/** The next block needs more instructions than the budget has left. */
export const EXIT_BUDGET = 1
/** A fault was raised; the slow path that raised it left its details with the processor. */
export const EXIT_FAULT = 2
/** State that decides how to go on (mode, TF, interruptibility) may have changed: TypeScript looks again. */
export const EXIT_RESYNC = 3
/** An out-of-line instruction asks to leave to the caller of runHost/enterGuest. */
export const EXIT_LEAVE = 4
/** Nothing compiled at RIP (only the dispatcher returns this). */
export const EXIT_MISS = 5
/** A call-out raised a fault: RIP in the context is exact. */
export const EXIT_FAULT_EXACT = 6
/** The region has been entered often: compile it again for speed, then go on at RIP. */
export const EXIT_HOT = 7
/** What a call-out returns to go on with the next instruction. */
export const CONTINUE = -1

/**
 * Says in 29 bits where an access is made: size in bytes (7 bits), offset of the instruction in its page (12 bits),
 * instructions of the block not yet retired, this one included (10 bits).
 */
export const accessInfo = (bytes: number, pageOffset: number, unretired: number): number =>
  bytes | ((pageOffset & 0xfff) << 7) | (unretired << 19)

/** The instructions not yet retired, from accessInfo. */
export const unretired = (info: number): number => (info >>> 19) & 0x3ff
/** In accessInfo: the access is through SS, so an address that is not canonical is #SS instead of #GP. */
export const ACCESS_STACK = 1 << 29

const VECTOR_AC = 17

/** Writes the body of one region function. */
export class Emitter {
  readonly code = new CodeBuffer(16384)
  readonly flags = new FlagState(this)
  readonly vectors = new VectorLocals(this)
  /** Bit n: general register n is read or written (loaded in the prologue) / written (stored on exit). */
  usedGpr = 0
  dirtyGpr = 0
  usesFlags = false
  dirtyFlags = false
  usesMemory = false
  /**
   * Hot code looks translations up in place; cold code calls routines for it, which makes it a third of the size and as
   * much quicker to compile.
   */
  hot = false
  /** Code of a mode in which misaligned accesses raise #AC. */
  alignmentCheck = false
  /** Open wasm blocks around the code being written; labels are counted from here. */
  depth = 0
  faultDepth = 0
  exitDepth = 0
  nextDepth = 0
  /** accessInfo of the running instruction without the size. */
  instructionInfo = 0
  /** ACCESS_STACK while the next access is through SS. */
  accessSegment = 0
  private readonly tempTypes: WasmType[] = []
  private readonly tempInUse: boolean[] = []
  /** Indices of reserved ones. */
  private readonly reserved: number[] = []

  reset(): void {
    this.code.clear()
    this.flags.forget()
    this.vectors.reset()
    this.usedGpr = this.dirtyGpr = 0
    this.usesFlags = this.dirtyFlags = this.usesMemory = false
    this.depth = 0
    this.tempTypes.length = this.tempInUse.length = this.reserved.length = 0
  }

  // ---- temporaries ----
  beginInstruction(info: number): void {
    this.instructionInfo = info
    this.accessSegment = 0
    this.tempInUse.fill(false)
    for (const index of this.reserved) this.tempInUse[index] = true
  }

  temp(type: WasmType): number {
    const types = this.tempTypes
    for (let i = 0; i < types.length; i++) {
      if (types[i] === type && !this.tempInUse[i]) {
        this.tempInUse[i] = true
        return FIRST_TEMP + i
      }
    }
    types.push(type)
    this.tempInUse.push(true)
    return FIRST_TEMP + types.length - 1
  }

  /** A local that is kept from one instruction to the next. */
  reserve(type: WasmType): number {
    this.tempTypes.push(type)
    this.tempInUse.push(true)
    this.reserved.push(this.tempTypes.length - 1)
    return FIRST_TEMP + this.tempTypes.length - 1
  }

  get temporaries(): readonly WasmType[] {
    return this.tempTypes
  }

  /** Evaluates now and keeps the value in a local, so that it can be used any number of times. */
  let(e: Expr): Expr {
    if (isLeaf(e) && e.lo >= FIRST_TEMP && e.hi === 0) return e
    if (e.op === W.i32_const || e.op === W.i64_const) return e
    const index = this.temp(e.type)
    writeExpr(this.code, e)
    this.code.byte(W.local_set)
    this.code.u32(index)
    return local(index, e.type)
  }

  /** A local that is assigned more than once (in branches, loops). */
  variable(initial: Expr): Expr {
    const v = local(this.temp(initial.type), initial.type)
    this.assign(v, initial)
    return v
  }

  assign(variable: Expr, value: Expr): void {
    writeExpr(this.code, value)
    this.code.byte(W.local_set)
    this.code.u32(variable.lo)
  }

  // ---- statements ----
  eval(e: Expr): void {
    writeExpr(this.code, e)
  }
  drop(e: Expr): void {
    writeExpr(this.code, e)
    this.code.byte(W.drop)
  }
  op(opcode: number): void {
    writeOpcode(this.code, opcode)
  }
  /** Store instruction: address, value, constant offset. */
  store(op: number, address: Expr, offset: number, value: Expr): void {
    if (this.vectors.store(op, address, offset, value)) return
    writeExpr(this.code, address)
    writeExpr(this.code, value)
    this.rawStore(op, offset)
  }
  /** The store instruction alone: address and value are on the wasm stack. */
  rawStore(op: number, offset: number): void {
    writeOpcode(this.code, op)
    this.code.byte(0)
    this.code.u32(offset)
  }

  private open(op: number): void {
    this.code.byte(op)
    this.code.byte(VOID)
    this.depth++
  }
  end(): void {
    this.code.byte(W.end)
    this.depth--
  }
  /** Runs `body` inside a wasm block; `leave(depth)` inside it with `br`/`brIf`. */
  block(body: (label: number) => void): void {
    this.open(W.block)
    body(this.depth)
    this.end()
  }
  loop(body: (label: number) => void): void {
    this.open(W.loop)
    body(this.depth)
    this.end()
  }
  if(condition: Expr, then: () => void, otherwise?: () => void): void {
    writeExpr(this.code, condition)
    this.open(W.if)
    then()
    if (otherwise !== undefined) {
      this.code.byte(W.else)
      otherwise()
    }
    this.end()
  }
  /** Branch to the block or loop that was opened at depth `label`. */
  br(label: number): void {
    this.code.byte(W.br)
    this.code.u32(this.depth - label)
  }
  brIf(label: number, condition: Expr): void {
    writeExpr(this.code, condition)
    this.code.byte(W.br_if)
    this.code.u32(this.depth - label)
  }
  openBlock(): number {
    this.open(W.block)
    return this.depth
  }
  openLoop(): number {
    this.open(W.loop)
    return this.depth
  }

  // ---- machine state ----
  get ctx(): Expr {
    return local(LOCAL_CTX, I32)
  }
  get fpu(): Expr {
    return local(LOCAL_FPU, I32)
  }
  /** The 64-bit register as it is now: a snapshot (stays as it was when the register is written later). */
  gpr(reg: number): Expr {
    return this.let(this.gprNow(reg))
  }
  /** The register's local itself, to be consumed before the register is written. */
  gprNow(reg: number): Expr {
    this.usedGpr |= 1 << reg
    return local(LOCAL_GPR + reg, I64)
  }
  setGpr(reg: number, value: Expr): void {
    this.usedGpr |= 1 << reg
    this.dirtyGpr |= 1 << reg
    writeExpr(this.code, value)
    this.code.byte(W.local_set)
    this.code.u32(LOCAL_GPR + reg)
  }
  ctx32(offset: number): Expr {
    return load(W.i32_load, I32, this.ctx, offset)
  }
  ctx64(offset: number): Expr {
    return load(W.i64_load, I64, this.ctx, offset)
  }
  setCtx32(offset: number, value: Expr): void {
    this.store(W.i32_store, this.ctx, offset, value)
  }
  setCtx64(offset: number, value: Expr): void {
    this.store(W.i64_store, this.ctx, offset, value)
  }

  // ---- leaving ----
  /** Leaves to the fault epilogue when the i32 on top of the stack is 0. */
  private faultIfZero(e: Expr): void {
    this.brIf(this.faultDepth, unary(W.i32_eqz, I32, e))
  }
  /** Stores RIP and returns `code` from the region (registers are stored by the epilogue). */
  exit(exitCode: number, rip: Expr): void {
    this.setCtx64(RIP, rip)
    this.assign(local(LOCAL_RET, I32), i32(exitCode))
    this.br(this.exitDepth)
  }

  /** Returns `code` with RIP as it is in the context. */
  leave(exitCode: number): void {
    this.assign(local(LOCAL_RET, I32), i32(exitCode))
    this.br(this.exitDepth)
  }

  // ---- memory ----
  /** Wasm address of the TLB entry for a linear address. */
  private tlbEntry(linear: Expr): Expr {
    const shift = 12 - Math.log2(TLB_ENTRY_SIZE)
    const index = binary(W.i32_and, I32, binary(W.i32_shr_u, I32, wrap(linear), i32(shift)), local(LOCAL_TLB_MASK, I32))
    return this.let(binary(W.i32_add, I32, index, local(LOCAL_TLB, I32)))
  }
  /** Whether the entry's tag (read 0, write 8) is that of the access: false also when the access crosses the page. */
  private tlbHit(entry: Expr, tagOffset: number, linear: Expr, bytes: number): Expr {
    const last = bytes === 1 ? linear : binary(W.i64_add, I64, linear, i64(bytes - 1))
    return binary(W.i64_eq, I32, load(W.i64_load, I64, entry, tagOffset), binary(W.i64_and, I64, last, i64(-4096)))
  }
  private direct(entry: Expr, linear: Expr): Expr {
    return binary(W.i32_add, I32, wrap(linear), load(W.i32_load, I32, entry, 16))
  }
  private slow(fn: number, linear: Expr, bytes: number): Expr {
    const lo = wrap(linear)
    const hi = wrap(binary(W.i64_shr_u, I64, linear, i64(32)))
    return new Expr(W.call, I32, this.ctx, lo, new Sequence(hi, i32(this.instructionInfo | this.accessSegment | bytes)), fn, 0)
  }

  /** Wasm address at which `bytes` (1..64) at `linear` can be read: in place, or a copy. Faults leave the region. */
  readPointer(linear: Expr, bytes: number): Expr {
    return this.pointer(linear, bytes, 0, FN_READ_SLOW)
  }
  /** Wasm address for a read-modify-write of `bytes` at `linear`; call `commit` after the store. */
  modifyPointer(linear: Expr, bytes: number): Expr {
    return this.pointer(linear, bytes, 8, FN_MODIFY_SLOW)
  }
  /**
   * As `readPointer`, but a variable that is 0 where that would take the slow path: when the access crosses a page or the
   * translation is not at hand. Cannot fault.
   */
  readPointerIfReady(linear: Expr, bytes: number): Expr {
    return this.pointerIfReady(linear, bytes, 0)
  }
  /** Likewise for writing (and reading). */
  writePointerIfReady(linear: Expr, bytes: number): Expr {
    return this.pointerIfReady(linear, bytes, 8)
  }
  private pointerIfReady(linear: Expr, bytes: number, tagOffset: number): Expr {
    this.usesMemory = true
    const at = this.let(linear)
    const entry = this.tlbEntry(at)
    return this.variable(select(this.tlbHit(entry, tagOffset, at, bytes), this.direct(entry, at), i32(0)))
  }
  /** Wasm address of the byte at `linear` (a leaf) when the software TLB has its page for the access, else 0. Cannot fault. */
  pointerIfMapped(linear: Expr, write: boolean): Expr {
    this.usesMemory = true
    const entry = this.tlbEntry(linear)
    return this.let(select(this.tlbHit(entry, write ? 8 : 0, linear, 1), this.direct(entry, linear), i32(0)))
  }
  /** Copies (as memmove) or fills `bytes` (i32) inside wasm memory. */
  memoryCopy(to: Expr, from: Expr, bytes: Expr): void {
    this.bulk(W.memory_copy, to, from, bytes, 2)
  }
  memoryFill(to: Expr, value: Expr, bytes: Expr): void {
    this.bulk(W.memory_fill, to, value, bytes, 1)
  }
  private bulk(op: number, a: Expr, b: Expr, c: Expr, memories: number): void {
    for (const operand of [a, b, c]) writeExpr(this.code, operand)
    writeOpcode(this.code, op)
    for (let i = 0; i < memories; i++) this.code.byte(0)
  }
  private pointer(unchecked: Expr, bytes: number, tagOffset: number, slowFn: number): Expr {
    const linear = this.checkAlignment(unchecked, bytes)
    if (!this.hot) return this.pointerByCall(slowFn === FN_READ_SLOW ? FN_READ_POINTER : FN_MODIFY_POINTER, linear, bytes)
    this.usesMemory = true
    const at = this.let(linear)
    const entry = this.tlbEntry(at)
    const pointer = this.variable(this.direct(entry, at))
    this.if(unary(W.i32_eqz, I32, this.tlbHit(entry, tagOffset, at, bytes)), () => {
      this.assign(pointer, this.slow(slowFn, at, bytes))
      this.faultIfZero(pointer)
    })
    return pointer
  }
  /**
   * Classic alignment check (CPL 3, CR0.AM, RFLAGS.AC): #AC(0) for a word, doubleword or quadword that is not on its own
   * boundary (SDM Vol. 3, table 7-7). Wider operands have rules of their own and are not checked.
   */
  private checkAlignment(linear: Expr, bytes: number): Expr {
    if (!this.alignmentCheck || (bytes !== 2 && bytes !== 4 && bytes !== 8)) return linear
    const at = this.let(linear)
    this.if(binary(W.i32_and, I32, wrap(at), i32(bytes - 1)), () => this.assist(callOutId('raise'), i32(VECTOR_AC)))
    return at
  }
  private pointerByCall(fn: number, linear: Expr, bytes: number): Expr {
    const pointer = this.let(call(fn, I32, this.ctx, linear, i32(this.instructionInfo | this.accessSegment | bytes)))
    this.faultIfZero(pointer)
    return pointer
  }
  /** Completes a read-modify-write that went through the bounce buffer. Cannot fault. */
  commit(pointer: Expr): void {
    this.if(binary(W.i32_eq, I32, pointer, binary(W.i32_add, I32, this.ctx, i32(BOUNCE))), () => {
      this.drop(call(FN_COMMIT, I32, this.ctx, null, null))
    })
  }
  /** Stores a scalar or v128 at `linear`. Faults leave the region with nothing written. */
  storeMemory(linear: Expr, bytes: number, op: number, value: Expr): void {
    const at = this.let(this.checkAlignment(linear, bytes))
    const kept = this.let(value)
    if (!this.hot) {
      this.storeByCall(at, bytes, op, kept)
      return
    }
    this.usesMemory = true
    const entry = this.tlbEntry(at)
    this.if(
      this.tlbHit(entry, 8, at, bytes),
      () => this.store(op, this.direct(entry, at), 0, kept),
      () => {
        this.store(op, this.ctx, BOUNCE, kept)
        this.faultIfZero(this.slow(FN_WRITE_SLOW, at, bytes))
      },
    )
  }
  private storeByCall(at: Expr, bytes: number, op: number, value: Expr): void {
    const pointer = this.let(call(FN_STORE_POINTER, I32, this.ctx, at, i32(this.instructionInfo | this.accessSegment | bytes)))
    this.store(op, pointer, 0, value)
    this.if(binary(W.i32_eq, I32, pointer, binary(W.i32_add, I32, this.ctx, i32(BOUNCE))), () => {
      this.faultIfZero(this.slow(FN_WRITE_SLOW, at, bytes))
    })
  }
  loadInt(linear: Expr, bits: Bits): Expr {
    const pointer = this.readPointer(linear, bits / 8)
    return this.let(loadInt(pointer, bits))
  }
  storeInt(linear: Expr, bits: Bits, value: Expr): void {
    this.storeMemory(linear, bits / 8, storeOp(bits), value)
  }
  loadV128(linear: Expr): Expr {
    return this.let(load(V.load, V128, this.readPointer(linear, 16), 0))
  }

  // ---- out-of-line ----
  /**
   * Runs an instruction in TypeScript: registers, flags and RIP (of this instruction) are in the context during the call
   * and taken from it afterwards. A result other than CONTINUE leaves the region with it.
   */
  callOut(id: number, argument: Expr, rip: Expr): void {
    this.usedGpr = this.dirtyGpr = 0xffff
    this.usesFlags = this.dirtyFlags = true
    this.setCtx64(RIP, rip)
    this.spillAll()
    const result = this.let(
      new Expr(W.call, I32, this.ctx, i32(id), new Sequence(argument, i32(this.instructionInfo)), FN_CALL_OUT, 0),
    )
    this.if(binary(W.i32_ne, I32, result, i32(CONTINUE)), () => {
      this.eval(result)
      this.code.byte(W.return)
    })
    this.reloadAll()
    this.vectors.reload()
    this.flags.forget()
  }
  /**
   * Calls a TypeScript routine that needs no general registers (operands are in memory): 0 goes on, anything else is a
   * fault it has raised.
   */
  assist(id: number, argument: Expr): void {
    const result = new Expr(W.call, I32, this.ctx, i32(id), new Sequence(argument, i32(this.instructionInfo)), FN_ASSIST, 0)
    this.brIf(this.faultDepth, result)
  }
  private spillAll(): void {
    for (let r = 0; r < 16; r++) this.setCtx64(GPR + r * 8, local(LOCAL_GPR + r, I64))
    this.flags.spill()
    this.spillBudget()
  }
  private reloadAll(): void {
    for (let r = 0; r < 16; r++) this.assign(local(LOCAL_GPR + r, I64), this.ctx64(GPR + r * 8))
    this.flags.reload()
    this.reloadBudget()
  }
  spillBudget(): void {
    this.setCtx32(BUDGET, local(LOCAL_BUDGET, I32))
  }
  reloadBudget(): void {
    this.assign(local(LOCAL_BUDGET, I32), this.ctx32(BUDGET))
    this.assign(local(LOCAL_TLB, I32), this.ctx32(TLB_POINTER))
    this.assign(local(LOCAL_TLB_MASK, I32), this.ctx32(TLB_MASK))
  }
}

/** Two values left on the stack one after the other (arguments four and more of a call). */
export class Sequence extends Expr {
  constructor(first: Expr, second: Expr) {
    super(SEQUENCE, first.type, first, second, null, 0, 0)
  }
}
const SEQUENCE = -1

export const loadInt = (pointer: Expr, bits: Bits, offset = 0): Expr =>
  bits === 64
    ? load(W.i64_load, I64, pointer, offset)
    : load(bits === 32 ? W.i32_load : bits === 16 ? W.i32_load16_u : W.i32_load8_u, I32, pointer, offset)
export const storeOp = (bits: Bits): number =>
  bits === 64 ? W.i64_store : bits === 32 ? W.i32_store : bits === 16 ? W.i32_store16 : W.i32_store8
