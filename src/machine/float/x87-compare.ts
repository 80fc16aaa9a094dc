import { KIND_QNAN, KIND_SNAN, KIND_UNSUPPORTED, type Unpacked } from './format.ts'
import { EXCEPTION_IE } from './mxcsr.ts'
import { compareNumbers, RELATION_EQUAL, RELATION_LESS, RELATION_UNORDERED, relationToRflags } from './sse-compare.ts'
import { X87Remainder } from './x87-remainder.ts'
import { FSW_C0, FSW_C1, FSW_C2, FSW_C3, FSW_CONDITIONS, X87_FAULT_MF, X87_OK } from './x87-state.ts'

/** FCOM*, FUCOM*, FCOMI*, FTST, FXAM. */
export class X87Compare extends X87Remainder {
  /** Relation of a and b. `quiet` (FUCOM*): quiet NaNs raise nothing. */
  private relate(quiet: boolean): number {
    const { a, b } = this
    if (a.kind >= KIND_QNAN || b.kind >= KIND_QNAN) {
      if (!quiet || isInvalidQuietly(a) || isInvalidQuietly(b)) this.flags |= EXCEPTION_IE
      return RELATION_UNORDERED
    }
    this.noteDenormal(a)
    this.noteDenormal(b)
    return compareNumbers(a, b)
  }

  /** FCOM, FUCOM and their pops: C3 C2 C0. */
  fcom(i: number, quiet: boolean, pops: number): number {
    if (this.pending) return X87_FAULT_MF
    const empty = this.isEmpty(0) || this.isEmpty(i)
    if (!empty) this.load(this.b, i)
    return this.compareWithB(empty, quiet, pops)
  }

  /** The condition codes are set even when an unmasked exception keeps the operands from being popped. */
  protected compareWithB(empty: boolean, quiet: boolean, pops: number): number {
    const done = this.finishCompare(empty, quiet)
    const relation = this.relation
    this.setCondition(
      relation === RELATION_UNORDERED
        ? FSW_C3 | FSW_C2 | FSW_C0
        : relation === RELATION_EQUAL
          ? FSW_C3
          : relation === RELATION_LESS
            ? FSW_C0
            : 0,
    )
    if (done) for (let n = 0; n < pops; n++) this.pop()
    return X87_OK
  }

  private relation = 0

  /** Finds the relation of ST(0) and b and raises exceptions; false when one is unmasked. */
  private finishCompare(empty: boolean, quiet: boolean): boolean {
    this.relation = RELATION_UNORDERED
    if (empty) return !this.stackUnderflow()
    this.load(this.a, 0)
    this.begin()
    this.relation = this.relate(quiet)
    return this.finish()
  }

  /** ZF PF CF after FCOMI and FUCOMI in their RFLAGS positions (OF SF AF become 0), or -1: RFLAGS stay. */
  rflags = -1

  fcomi(i: number, quiet: boolean, pop: boolean): number {
    this.rflags = -1
    if (this.pending) return X87_FAULT_MF
    const empty = this.isEmpty(0) || this.isEmpty(i)
    if (!empty) this.load(this.b, i)
    const done = this.finishCompare(empty, quiet)
    this.rflags = relationToRflags(this.relation)
    if (done && pop) this.pop()
    return X87_OK
  }

  ftst(): number {
    if (this.pending) return X87_FAULT_MF
    this.b.setZero()
    this.b.sign = 0
    return this.compareWithB(this.isEmpty(0), false, 0)
  }

  fxam(): number {
    if (this.pending) return X87_FAULT_MF
    this.load(this.a, 0)
    const sign = this.a.sign !== 0 ? FSW_C1 : 0
    // C3 C2 C0: unsupported 000, NaN 001, normal 010, infinity 011, zero 100, empty 101, denormal 110.
    const classes = [FSW_C3, FSW_C2, FSW_C3 | FSW_C2, FSW_C2 | FSW_C0, FSW_C0, FSW_C0, 0]
    this.setCondition(sign | (this.isEmpty(0) ? FSW_C3 | FSW_C0 : classes[this.a.kind]), FSW_CONDITIONS)
    return X87_OK
  }
}

function isInvalidQuietly(o: Unpacked): boolean {
  return o.kind === KIND_SNAN || o.kind === KIND_UNSUPPORTED
}
