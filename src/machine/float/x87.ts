import { X87Environment } from './x87-environment.ts'
import { X87_M16INT, X87_M32, X87_M32INT, X87_M64, X87_M64INT } from './x87-load.ts'
import { X87_FAULT_MF, X87_FAULT_UD, X87_OK } from './x87-state.ts'

const RFLAGS_CF = 0x01
const RFLAGS_PF = 0x04
const RFLAGS_ZF = 0x40

/** Conditions of FCMOVcc in the order of their encoding (DA, then DB with the opposite sense): B, E, BE, U. */
const CMOV_CONDITIONS = [RFLAGS_CF, RFLAGS_ZF, RFLAGS_CF | RFLAGS_ZF, RFLAGS_PF]

/**
 * The x87 unit of one logical processor. Methods are named after mnemonics; `execute` takes the opcode as encoded.
 *
 * Each returns X87_OK or the vector of the fault to raise instead: X87_FAULT_MF when an earlier instruction left an unmasked
 * exception pending and this one waits for it. An unmasked exception of the instruction itself only sets ES and B.
 */
export class X87 extends X87Environment {
  /**
   * Executes the instruction with the 11-bit opcode `fop` = (first byte & 7) << 8 | ModRM. A memory operand lies at wasm
   * offset `mem` (4-aligned, at least 108 bytes of room); afterwards the caller copies `stored` bytes from there to guest
   * memory if `stored` is not 0. FNSTSW AX leaves the status word at `mem` as well.
   *
   * @param rflags read by FCMOVcc. FCOMI and FUCOMI leave ZF PF CF in the field `rflags` (-1: RFLAGS stay).
   * @param layout ENVIRONMENT_* of FLDENV, FNSTENV, FRSTOR, FNSAVE
   */
  execute(fop: number, mem: number, rflags: number, layout: number): number {
    this.stored = 0
    this.rflags = -1
    const reg = (fop >>> 3) & 7
    const opcode = (fop >>> 8) & 7
    if ((fop & 0xc0) !== 0xc0) return this.executeMemory(opcode, reg, mem, layout)
    return this.executeRegister(opcode, reg, fop & 7, mem, rflags)
  }

  private executeMemory(opcode: number, reg: number, mem: number, layout: number): number {
    switch (opcode) {
      case 0:
        return this.basicMemory(reg, X87_M32, mem)
      case 2:
        return this.basicMemory(reg, X87_M32INT, mem)
      case 4:
        return this.basicMemory(reg, X87_M64, mem)
      case 6:
        return this.basicMemory(reg, X87_M16INT, mem)
      case 1:
        return this.executeD9Memory(reg, mem, layout)
      case 3:
        return this.executeDBMemory(reg, mem)
      case 5:
        return this.executeDDMemory(reg, mem, layout)
      default:
        return this.executeDFMemory(reg, mem)
    }
  }

  /** D8, DA, DC, DE with memory: ModRM.reg is the operation. */
  private basicMemory(reg: number, format: number, mem: number): number {
    if (reg === 2 || reg === 3) return this.fcomMemory(format, mem, reg - 2)
    return this.arithmeticMemory(reg, format, mem)
  }

  private executeD9Memory(reg: number, mem: number, layout: number): number {
    switch (reg) {
      case 0:
        return this.fld(X87_M32, mem)
      case 2:
      case 3:
        return this.fst(X87_M32, mem, reg === 3)
      case 4:
        return this.fldenv(mem, layout)
      case 5:
        return this.fldcw(mem)
      case 6:
        return this.fnstenv(mem, layout)
      case 7:
        return this.fnstcw(mem)
      default:
        return X87_FAULT_UD
    }
  }

  private executeDBMemory(reg: number, mem: number): number {
    switch (reg) {
      case 0:
        return this.fld(X87_M32INT, mem)
      case 1:
        return this.fist(32, mem, true, true)
      case 2:
      case 3:
        return this.fist(32, mem, false, reg === 3)
      case 5:
        return this.fldM80(mem)
      case 7:
        return this.fstpM80(mem)
      default:
        return X87_FAULT_UD
    }
  }

  private executeDDMemory(reg: number, mem: number, layout: number): number {
    switch (reg) {
      case 0:
        return this.fld(X87_M64, mem)
      case 1:
        return this.fist(64, mem, true, true)
      case 2:
      case 3:
        return this.fst(X87_M64, mem, reg === 3)
      case 4:
        return this.frstor(mem, layout)
      case 6:
        return this.fnsave(mem, layout)
      case 7:
        return this.fnstsw(mem)
      default:
        return X87_FAULT_UD
    }
  }

  private executeDFMemory(reg: number, mem: number): number {
    switch (reg) {
      case 0:
        return this.fld(X87_M16INT, mem)
      case 1:
        return this.fist(16, mem, true, true)
      case 2:
      case 3:
        return this.fist(16, mem, false, reg === 3)
      case 4:
        return this.fbld(mem)
      case 5:
        return this.fld(X87_M64INT, mem)
      case 6:
        return this.fbstp(mem)
      default:
        return this.fist(64, mem, false, true)
    }
  }

  private executeRegister(opcode: number, reg: number, i: number, mem: number, rflags: number): number {
    switch (opcode) {
      case 0:
        if (reg === 2 || reg === 3) return this.fcom(i, false, reg - 2)
        return this.arithmetic(reg, i)
      case 1:
        return this.executeD9Register(reg, i)
      case 2:
        if (reg < 4) return this.fcmov(i, (rflags & CMOV_CONDITIONS[reg]) !== 0)
        return reg === 5 && i === 1 ? this.fcom(1, true, 2) : X87_FAULT_UD
      case 3:
        return this.executeDBRegister(reg, i, rflags)
      case 4:
        // DC D0+i and DC D8+i are aliases of FCOM and FCOMP.
        if (reg === 2 || reg === 3) return this.fcom(i, false, reg - 2)
        return this.arithmeticTo(reg, i, false)
      case 5:
        return this.executeDDRegister(reg, i)
      case 6:
        if (reg === 2) return this.fcom(i, false, 1)
        if (reg === 3) return i === 1 ? this.fcom(1, false, 2) : X87_FAULT_UD
        return this.arithmeticTo(reg, i, true)
      default:
        return this.executeDFRegister(reg, i, mem)
    }
  }

  private executeD9Register(reg: number, i: number): number {
    switch (reg) {
      case 0:
        return this.fldSt(i)
      case 1:
        return this.fxch(i)
      case 2:
        return i === 0 ? this.fwait() : X87_FAULT_UD
      case 3:
        return this.fstpnce(i)
      case 4:
        if (i === 0) return this.fchs()
        if (i === 1) return this.fabs()
        if (i === 4) return this.ftst()
        return i === 5 ? this.fxam() : X87_FAULT_UD
      case 5:
        return i < 7 ? this.fldConstant(i) : X87_FAULT_UD
      case 6:
        return this.executeD9Row6(i)
      default:
        return this.executeD9Row7(i)
    }
  }

  private executeD9Row6(i: number): number {
    switch (i) {
      case 0:
        return this.f2xm1()
      case 1:
        return this.fyl2x(false)
      case 2:
        return this.fptan()
      case 3:
        return this.fpatan()
      case 4:
        return this.fxtract()
      case 5:
        return this.fprem(true)
      case 6:
        return this.fdecstp()
      default:
        return this.fincstp()
    }
  }

  private executeD9Row7(i: number): number {
    switch (i) {
      case 0:
        return this.fprem(false)
      case 1:
        return this.fyl2x(true)
      case 2:
        return this.fsqrt()
      case 3:
        return this.fsincos()
      case 4:
        return this.frndint()
      case 5:
        return this.fscale()
      case 6:
        return this.fsin()
      default:
        return this.fcos()
    }
  }

  private executeDBRegister(reg: number, i: number, rflags: number): number {
    if (reg < 4) return this.fcmov(i, (rflags & CMOV_CONDITIONS[reg]) === 0)
    if (reg === 5 || reg === 6) return this.fcomi(i, reg === 5, false)
    if (reg !== 4) return X87_FAULT_UD
    if (i === 2) return this.fnclex()
    if (i === 3) return this.fninit()
    // FNENI, FNDISI, FNSETPM of older processors do nothing.
    return i < 5 ? X87_OK : X87_FAULT_UD
  }

  private executeDDRegister(reg: number, i: number): number {
    switch (reg) {
      case 0:
        return this.ffree(i, false)
      case 1:
        // Alias of FXCH.
        return this.fxch(i)
      case 2:
      case 3:
        return this.fstSt(i, reg === 3)
      case 4:
      case 5:
        return this.fcom(i, true, reg - 4)
      default:
        return X87_FAULT_UD
    }
  }

  private executeDFRegister(reg: number, i: number, mem: number): number {
    switch (reg) {
      case 0:
        return this.ffree(i, true)
      case 1:
        return this.fxch(i)
      case 2:
      case 3:
        return this.fstSt(i, true)
      case 4:
        return i === 0 ? this.fnstsw(mem) : X87_FAULT_UD
      case 5:
      case 6:
        return this.fcomi(i, reg === 5, true)
      default:
        return X87_FAULT_UD
    }
  }

  // ---- MMX ----

  /** What an MMX instruction other than EMMS does first: TOP = 0, all registers in use. A register written gets exponent FFFF. */
  enterMmx(): number {
    if (this.pending) return X87_FAULT_MF
    this.top = 0
    this.abridgedTags = 0xff
    return X87_OK
  }

  emms(): number {
    if (this.pending) return X87_FAULT_MF
    this.abridgedTags = 0
    return X87_OK
  }
}
