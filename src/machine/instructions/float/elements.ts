import {
  ELEMENT_F16,
  ELEMENT_F32,
  ELEMENT_F64,
  ELEMENT_I16,
  ELEMENT_I32,
  ELEMENT_I64,
  ELEMENT_U16,
  ELEMENT_U32,
  ELEMENT_U64,
} from '../../float/sse-convert.ts'

/** Element types of conversions. */
export interface Element {
  /** ELEMENT_* of the float unit. */
  readonly type: number
  readonly bits: 16 | 32 | 64
  readonly kind: 'float' | 'signed' | 'unsigned'
}
export const FLOAT16: Element = { type: ELEMENT_F16, bits: 16, kind: 'float' }
export const FLOAT32: Element = { type: ELEMENT_F32, bits: 32, kind: 'float' }
export const FLOAT64: Element = { type: ELEMENT_F64, bits: 64, kind: 'float' }
export const INT16: Element = { type: ELEMENT_I16, bits: 16, kind: 'signed' }
export const UINT16: Element = { type: ELEMENT_U16, bits: 16, kind: 'unsigned' }
export const INT32: Element = { type: ELEMENT_I32, bits: 32, kind: 'signed' }
export const UINT32: Element = { type: ELEMENT_U32, bits: 32, kind: 'unsigned' }
export const INT64: Element = { type: ELEMENT_I64, bits: 64, kind: 'signed' }
export const UINT64: Element = { type: ELEMENT_U64, bits: 64, kind: 'unsigned' }
