/** The legacy region's fields as struct kvm_fpu and struct user_i387_struct carry them. */
export interface FxsaveFields {
  fcw: number
  fsw: number
  /** Abridged tag byte. */
  ftw: number
  fop: number
  fipLo: number
  fipHi: number
  fdpLo: number
  fdpHi: number
  /** ST0..ST7, 16 bytes each. */
  readonly st: Uint8Array
  /** XMM0..XMM15, 16 bytes each. */
  readonly xmm: Uint8Array
}

export function newFxsaveFields(): FxsaveFields {
  return {
    fcw: 0,
    fsw: 0,
    ftw: 0,
    fop: 0,
    fipLo: 0,
    fipHi: 0,
    fdpLo: 0,
    fdpHi: 0,
    st: new Uint8Array(128),
    xmm: new Uint8Array(256),
  }
}
