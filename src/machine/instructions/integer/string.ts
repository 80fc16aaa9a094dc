import type { Decoded } from '../../decoder/decoder.ts'
import { OpKind, Register } from '../../decoder/iced-tables.ts'
import { RFLAGS_REST } from '../../memory-map.ts'
import { define } from '../../translate/definitions.ts'
import { EXIT_JUMP } from '../../translate/emitter.ts'
import { add, and, type Bits, constant, type Expr, eq, eqz, i32, i64, ne, or, select, sub } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { ACCUMULATOR } from './multiply.ts'

const RCX = 1
const RSI = 6
const RDI = 7
const RFLAGS_DF = 0x400
const RFLAGS_TF = 0x100

const ADDRESS_BITS: Record<number, 16 | 32 | 64> = {
  [OpKind.MemorySegSI]: 16,
  [OpKind.MemorySegESI]: 32,
  [OpKind.MemorySegRSI]: 64,
  [OpKind.MemorySegDI]: 16,
  [OpKind.MemorySegEDI]: 32,
  [OpKind.MemorySegRDI]: 64,
  [OpKind.MemoryESDI]: 16,
  [OpKind.MemoryESEDI]: 32,
  [OpKind.MemoryESRDI]: 64,
}
/** iced gives MOVSD and CMPSD to the SSE instructions too. */
export const isStringForm = (d: Decoded): boolean =>
  ADDRESS_BITS[d.opKind[0]] !== undefined || (d.opCount > 1 && ADDRESS_BITS[d.opKind[1]] !== undefined)

/** A string instruction while it is translated: index registers, count and direction at its address size. */
export class StringSite {
  readonly s: InstructionSite
  readonly bits: Bits
  readonly bytes: number
  readonly addressBits: 16 | 32 | 64
  /** Bytes an index moves by: the element size, negative when DF is set. An i64 leaf. */
  readonly step: Expr
  /** F3 or F2. */
  readonly repeated: boolean

  constructor(s: InstructionSite) {
    this.s = s
    this.bytes = s.d.memoryBytes
    this.bits = (this.bytes * 8) as Bits
    this.addressBits = ADDRESS_BITS[s.d.opKind[0]] ?? ADDRESS_BITS[s.d.opKind[1]]
    this.repeated = s.d.rep || s.d.repne
    this.step = s.e.let(select(this.directionFlag(), i64(-this.bytes), i64(this.bytes)))
  }

  private control(flags: number): Expr {
    return and(32, this.s.e.ctx32(RFLAGS_REST), i32(flags))
  }
  directionFlag(): Expr {
    return this.control(RFLAGS_DF)
  }
  /** Elements have to be done one by one: downwards, or each followed by a single-step trap. */
  oneByOne(): Expr {
    return this.control(RFLAGS_DF | RFLAGS_TF)
  }
  /** An index register or the count as it is now, cut to the address size, kept. */
  register(n: number): Expr {
    return this.s.e.let(this.cut(this.s.e.gprNow(n)))
  }
  private cut(value: Expr): Expr {
    return this.addressBits === 64 ? value : and(64, value, i64(this.addressBits === 32 ? -1 : 0xffff, 0))
  }
  addTo(n: number, amount: Expr): void {
    const e = this.s.e
    const sum = this.cut(add(64, e.gprNow(n), amount))
    e.setGpr(n, this.addressBits === 16 ? or(64, and(64, e.gprNow(n), i64(~0xffff)), sum) : sum)
  }

  sourceAddress(): Expr {
    return this.s.e.let(this.s.linear(this.register(RSI), this.s.d.memorySegment))
  }
  destinationAddress(): Expr {
    return this.s.e.let(this.s.linear(this.register(RDI), Register.ES))
  }

  /** Runs `iteration` once, or with a repeat prefix as often as the count register says; `bulk` may do several at once. */
  repeat(iteration: () => void, bulk?: (count: Expr, again: number, scalar: number) => void): void {
    const e = this.s.e
    if (!this.repeated) {
      iteration()
      return
    }
    e.block((done) =>
      e.loop((again) => {
        const count = this.register(RCX)
        e.brIf(done, eq(64, count, i64(0)))
        if (bulk !== undefined) e.block((scalar) => bulk(count, again, scalar))
        iteration()
        this.addTo(RCX, i64(-1))
        this.leaveWhenStepping(this.register(RCX))
        e.br(again)
      }),
    )
  }
  /** Under RFLAGS.TF the trap comes after every iteration, with RIP at the instruction while there are more (SDM Vol. 3, 18.3.1.4). */
  private leaveWhenStepping(more: Expr): void {
    const { s } = this
    const stepping = ne(32, this.control(RFLAGS_TF), i32(0))
    s.e.if(and(32, stepping, ne(64, more, i64(0))), () => s.e.exit(EXIT_JUMP, s.rip))
  }

  /**
   * CMPS and SCAS: `iteration` leaves what is compared in the variables. Flags are those of the last comparison; they are
   * written after the loop, so that a fault inside it leaves them as they were (SDM Vol. 2, REP).
   */
  compare(a: Expr, b: Expr, iteration: () => void): void {
    const e = this.s.e
    const setFlags = () => e.flags.fromSub(this.bits, a, b, e.let(sub(this.bits, a, b)))
    if (!this.repeated) {
      iteration()
      setFlags()
      return
    }
    e.if(ne(64, this.register(RCX), i64(0)), () => {
      const left = e.variable(i64(0))
      e.loop((again) => {
        iteration()
        this.addTo(RCX, i64(-1))
        const goesOn = this.s.d.repne ? ne(this.bits, a, b) : eq(this.bits, a, b)
        e.assign(left, select(goesOn, this.register(RCX), i64(0)))
        e.brIf(again, and(32, ne(64, left, i64(0)), eqz(32, this.control(RFLAGS_TF))))
      })
      setFlags()
      this.leaveWhenStepping(left)
    })
    e.flags.forget()
  }
}

function lods(s: InstructionSite): void {
  const string = new StringSite(s)
  string.repeat(() => {
    s.writeGpr(ACCUMULATOR[string.bits], s.e.loadInt(string.sourceAddress(), string.bits))
    string.addTo(RSI, string.step)
  })
}

function cmps(s: InstructionSite): void {
  const string = new StringSite(s)
  const a = s.e.variable(constant(string.bits, 0))
  const b = s.e.variable(constant(string.bits, 0))
  string.compare(a, b, () => {
    s.e.assign(a, s.e.loadInt(string.sourceAddress(), string.bits))
    s.e.assign(b, s.e.loadInt(string.destinationAddress(), string.bits))
    string.addTo(RSI, string.step)
    string.addTo(RDI, string.step)
  })
}

function scas(s: InstructionSite): void {
  const string = new StringSite(s)
  const a = s.readGpr(ACCUMULATOR[string.bits])
  const b = s.e.variable(constant(string.bits, 0))
  string.compare(a, b, () => {
    s.e.assign(b, s.e.loadInt(string.destinationAddress(), string.bits))
    string.addTo(RDI, string.step)
  })
}

/**
 * INS and OUTS, repeated or not, run out of line. Argument: element bytes; bit 3 repeat prefix; bit 4 INS; bits 5-6 address
 * size (0, 1, 2 = 16, 32, 64); bits 8-10 segment of the source (SEGMENT order).
 */
const portString =
  (input: boolean) =>
  (s: InstructionSite): void => {
    const kind = s.d.opKind[input ? 0 : 1]
    const address = Math.log2(ADDRESS_BITS[kind] / 16)
    const flags = (s.d.rep || s.d.repne ? 8 : 0) | (input ? 16 : 0) | (address << 5)
    s.callOut('port-string', i32(s.d.memoryBytes | flags | ((s.d.memorySegment - Register.ES) << 8)))
  }

for (const size of ['B', 'W', 'D', 'Q']) {
  define(`LODS${size}`, lods)
  define(`SCAS${size}`, scas)
  define(`CMPS${size}`, cmps, isStringForm)
  if (size === 'Q') continue
  define(`INS${size}`, portString(true))
  define(`OUTS${size}`, portString(false))
}
