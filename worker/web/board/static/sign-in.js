// Signs in with the token of a link, which is what follows the # of its address.
"use strict";
(() => {
  function signIn() {
    const token = location.hash.slice(1);
    if (!token) return;
    // Neither the history nor a bookmark keeps it.
    history.replaceState(null, "", location.pathname);
    document.getElementById("token").value = token;
    document.getElementById("sign-in").submit();
  }
  addEventListener("hashchange", signIn);
  signIn();
})();
