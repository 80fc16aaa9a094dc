import { XCOMP_BV_OFFSET, XSAVE_LEGACY_AND_HEADER, XSTATE_BV_OFFSET } from '../../isa/xfeatures.ts'
import { type RestoreForm, XRSTORS } from './forms.ts'

/**
 * Why XRSTOR or XRSTORS refuses the header of an area with #GP(0), or null. SDM Vol. 1 §13.8 and §13.12; PERM-52, PERM-68.
 * Bit 63 of XSTATE_BV faults in the compacted form too, although XCOMP_BV has it (measured on Zen 5).
 *
 * @param area index of the area in `i32`
 * @param enabled XCR0, for XRSTORS with IA32_XSS
 * @param xsavec whether the processor knows the compacted format
 */
export function headerError(i32: Int32Array, area: number, enabled: number, form: RestoreForm, xsavec: boolean): string | null {
  const xstateBv = i32[area + (XSTATE_BV_OFFSET >> 2)]
  const xstateBvHigh = i32[area + (XSTATE_BV_OFFSET >> 2) + 1]
  const xcompBv = i32[area + (XCOMP_BV_OFFSET >> 2)]
  const xcompBvHigh = i32[area + (XCOMP_BV_OFFSET >> 2) + 1]
  const reserved = area + (XCOMP_BV_OFFSET >> 2) + 2
  if (xcompBvHigh >= 0) {
    if (form === XRSTORS) return 'XRSTORS: XCOMP_BV[63] is clear'
    if ((xstateBv & ~enabled) !== 0 || xstateBvHigh !== 0) return 'XRSTOR: XSTATE_BV has a bit that XCR0 lacks'
    if ((xcompBv | xcompBvHigh) !== 0) return 'XRSTOR: XCOMP_BV of a standard area is not 0'
    if ((i32[reserved] | i32[reserved + 1]) !== 0) return 'XRSTOR: header bytes 16..23 are not 0'
    return null
  }
  if (!xsavec) return 'XRSTOR: compacted area, but this processor has no XSAVEC'
  if ((xcompBv & ~enabled) !== 0 || (xcompBvHigh & 0x7fffffff) !== 0) return 'XRSTOR: XCOMP_BV has a bit that is not enabled'
  if ((xstateBv & ~xcompBv) !== 0 || xstateBvHigh !== 0) return 'XRSTOR: XSTATE_BV has a bit that XCOMP_BV lacks'
  for (let i = reserved, end = area + (XSAVE_LEGACY_AND_HEADER >> 2); i < end; i++) {
    if (i32[i] !== 0) return 'XRSTOR: header bytes 16..63 are not 0'
  }
  return null
}
