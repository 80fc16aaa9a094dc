import { FXSAVE, XCOMP_BV_OFFSET, XSAVE_LEGACY_AND_HEADER, XSTATE_BV_OFFSET, xfeatures } from '../isa/xfeatures.ts'
import { XsaveGeometry } from './xsave-geometry.ts'

/**
 * The bytes of KVM_GET_XSAVE2 and KVM_SET_XSAVE, read and written by name. A component whose bit in XSTATE_BV is clear is in
 * its initial state, whatever its bytes say.
 */
export class XsaveImage {
  readonly bytes: Uint8Array
  readonly geometry: XsaveGeometry
  private readonly view: DataView

  constructor(bytes: Uint8Array, geometry: XsaveGeometry = new XsaveGeometry([])) {
    if (bytes.length < XSAVE_LEGACY_AND_HEADER) {
      throw new RangeError(`an XSAVE image has at least ${XSAVE_LEGACY_AND_HEADER} bytes, not ${bytes.length}`)
    }
    this.bytes = bytes
    this.geometry = geometry
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get xstateBv(): bigint {
    return this.view.getBigUint64(XSTATE_BV_OFFSET, true)
  }
  set xstateBv(value: bigint) {
    this.view.setBigUint64(XSTATE_BV_OFFSET, value, true)
  }
  /** 0 in every image KVM takes or gives (XSAVE-07, XSAVE-19). */
  get xcompBv(): bigint {
    return this.view.getBigUint64(XCOMP_BV_OFFSET, true)
  }
  set xcompBv(value: bigint) {
    this.view.setBigUint64(XCOMP_BV_OFFSET, value, true)
  }
  get mxcsr(): number {
    return this.view.getUint32(FXSAVE.MXCSR, true)
  }
  set mxcsr(value: number) {
    this.view.setUint32(FXSAVE.MXCSR, value, true)
  }
  get fcw(): number {
    return this.view.getUint16(FXSAVE.FCW, true)
  }
  set fcw(value: number) {
    this.view.setUint16(FXSAVE.FCW, value, true)
  }
  /** Bytes 464..471: the components the host supports at all (XSAVE-10). */
  get hostComponents(): bigint {
    return this.view.getBigUint64(FXSAVE.SW_RESERVED, true)
  }

  /** Component `nr` is not in its initial state. */
  has(nr: number): boolean {
    return ((this.xstateBv >> BigInt(nr)) & 1n) !== 0n
  }
  /** Numbers of the components that are not initial. */
  get present(): number[] {
    const bv = this.xstateBv
    return Array.from({ length: 64 }, (_, nr) => nr).filter((nr) => ((bv >> BigInt(nr)) & 1n) !== 0n)
  }
  /** `FP SSE YMM XTILE_CFG XTILE_DATA` */
  get presentNames(): string {
    return this.present.map((nr) => xfeatures[nr]?.name ?? `component ${nr}`).join(' ')
  }

  /**
   * The live bytes of a component of the standard format. RangeError where this processor has none or the image is too short
   * for it (4096 bytes hold no tile data, XSAVE-05).
   */
  component(nr: number): Uint8Array {
    const place = this.geometry.component(nr)
    if (place === undefined) throw new RangeError(`no component ${nr} (${xfeatures[nr]?.name ?? 'unknown'}) in this geometry`)
    if (place.offset + place.size > this.bytes.length) {
      throw new RangeError(`${place.name} ends at byte ${place.offset + place.size}, the image has ${this.bytes.length}`)
    }
    return this.bytes.subarray(place.offset, place.offset + place.size)
  }

  clone(): XsaveImage {
    return new XsaveImage(this.bytes.slice(), this.geometry)
  }
}
